package main

import (
	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/samples/bookshop/issuer"
	"github.com/weftmesh/weft/samples/bookshop/shop"
)

func newIssuer() *cobra.Command {
	var flags serviceFlags
	var name string
	cmd := &cobra.Command{
		Use: "issuer", Short: "Give tokens to whoever asks, of the jwt sample", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := flags.identity("issuer")
			if err != nil {
				return err
			}
			i, err := issuer.New(name)
			if err != nil {
				return err
			}
			return shop.ServeHTTP(cmd.Context(), flags.listen, id, i.Handler())
		},
	}
	flags.add(cmd.Flags(), 8080)
	cmd.Flags().StringVar(&name, "name", "https://issuer.example.com", "the issuer that tokens name")
	return cmd
}
