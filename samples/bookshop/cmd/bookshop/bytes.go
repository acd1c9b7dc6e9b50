package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newGreet is a server that speaks first, as those of MySQL and SMTP do.
func newGreet() *cobra.Command {
	var port, tlsPort int
	var text string
	cmd := &cobra.Command{
		Use: "greet", Short: "Greet who connects before it says anything, and send datagrams back", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			certificate, err := selfSigned(text)
			if err != nil {
				return err
			}
			failed := make(chan error, 3)
			go func() { failed <- greet(port, nil, text) }()
			go func() { failed <- greet(tlsPort, certificate, text) }()
			go func() { failed <- echo(port) }()
			select {
			case err := <-failed:
				return err
			case <-cmd.Context().Done():
				return nil
			}
		},
	}
	cmd.Flags().IntVar(&port, "port", 7000, "port of the greeting, and for datagrams")
	cmd.Flags().IntVar(&tlsPort, "tls-port", 7443, "port of the greeting over TLS, with a certificate that nobody has signed")
	cmd.Flags().StringVar(&text, "text", "hello", "the greeting")
	return cmd
}

// greet says text to each client of a port; with secure it does so by TLS.
func greet(port int, secure *tls.Certificate, text string) error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	if secure != nil {
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*secure}})
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, text+"\n")
		}()
	}
}

// echo sends datagrams back.
func echo(port int) error {
	conn, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		_, _ = conn.WriteTo(buf[:n], from)
	}
}

func selfSigned(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	form.Subject.CommonName = name
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// newDial is a client of newGreet's servers.
func newDial() *cobra.Command {
	var times int
	var name, say string
	cmd := &cobra.Command{
		Use: "dial {tcp|udp} ADDRESS", Short: "Connect some times, and count what the server says", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			said := map[string]int{}
			var took []time.Duration
			for range times {
				start := time.Now()
				text, err := dial(cmd.Context(), args[0], args[1], name, say)
				if err != nil {
					text = "error: " + err.Error()
				}
				said[text]++
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			return printJSON(os.Stdout, map[string]any{"said": said, "medianMilliseconds": took[len(took)/2].Milliseconds()})
		},
	}
	cmd.Flags().IntVar(&times, "times", 1, "how many times")
	cmd.Flags().StringVar(&name, "tls", "", "server `NAME` to ask for by TLS; the certificate is not checked")
	cmd.Flags().StringVar(&say, "say", "hello", "what a datagram says")
	return cmd
}

// dial makes one connection, or sends one datagram, and returns the first line
// that comes.
func dial(ctx context.Context, network, address, name, say string) (string, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if name != "" {
		conn = tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	}
	if network == "udp" {
		if _, err := io.WriteString(conn, say+"\n"); err != nil {
			return "", err
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}
