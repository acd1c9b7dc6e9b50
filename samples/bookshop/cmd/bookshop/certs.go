package main

import (
	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/samples/bookshop/samplecert"
)

func newCerts() *cobra.Command {
	var dir string
	var hosts []string
	cmd := &cobra.Command{
		Use: "certs", Short: "Write sample certificates and the Secret of the tls-gateway sample", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return samplecert.Write(dir, hosts...) },
	}
	cmd.Flags().StringVar(&dir, "out", ".", "folder to write to")
	cmd.Flags().StringSliceVar(&hosts, "host", []string{"shop.example.com", "staff.example.com"}, "names of the server")
	return cmd
}
