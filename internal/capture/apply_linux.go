package capture

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// TableName is the nftables table (family inet) that holds every rule of ours.
const TableName = "weft_capture"

// Apply puts the rules into the network namespace of the calling thread, in
// place of those of an earlier Apply, at once: no packet sees half of them.
// Errors: bad options, and what the kernel refuses (EPERM without
// CAP_NET_ADMIN, ENOENT or EOPNOTSUPP where nf_tables or nft_redir is missing).
func Apply(o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("capture: netlink socket: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
	conn.AddTable(table) // so that DelTable finds one, and Apply can be repeated
	conn.DelTable(table)
	conn.AddTable(table)
	fill(conn, natChain(table, "output", nftables.ChainHookOutput), o.outbound())
	fill(conn, natChain(table, "prerouting", nftables.ChainHookPrerouting), o.inbound())
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("capture: nftables batch: %w%s", err, cure(err))
	}
	return nil
}

// Remove takes the rules away; none there is no error. Connections that were
// redirected go on to the proxy until they end.
func Remove() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("capture: netlink socket: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
	conn.AddTable(table)
	conn.DelTable(table)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("capture: remove table %s: %w%s", TableName, err, cure(err))
	}
	return nil
}

func natChain(table *nftables.Table, name string, hook *nftables.ChainHook) *nftables.Chain {
	return &nftables.Chain{
		Name: name, Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: hook, Priority: nftables.ChainPriorityNATDest,
	}
}

func fill(conn *nftables.Conn, chain *nftables.Chain, rules [][]expr.Any) {
	conn.AddChain(chain)
	for _, r := range rules {
		conn.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r})
	}
}

// cure says what to do about an error of the kernel.
func cure(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return " (CAP_NET_ADMIN over this network namespace is needed)"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return " (kernel without these modules: modprobe nf_tables nft_redir nft_reject_inet; Linux 5.2 at least)"
	}
	return ""
}
