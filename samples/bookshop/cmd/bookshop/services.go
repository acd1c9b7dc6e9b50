package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
	"github.com/weftmesh/weft/samples/bookshop/shop"
)

// controlPort is where the switch of an instance listens, on loopback.
const controlPort = 7070

// serviceFlags are the flags that each service has.
type serviceFlags struct {
	version string
	listen  shop.Listen
}

func (f *serviceFlags) add(flags *pflag.FlagSet, port int) {
	flags.StringVar(&f.version, "version", "v1", "version to report")
	flags.StringVar(&f.listen.App, "listen", fmt.Sprintf(":%d", port), "address of the service")
	flags.IntVar(&f.listen.Control, "control-port", controlPort, "port of the switch, on loopback")
}

func (f *serviceFlags) identity(service string) (shop.Identity, error) {
	pod, err := shop.PodName()
	return shop.Identity{Service: service, Version: f.version, Pod: pod}, err
}

func newFrontend() *cobra.Command {
	var flags serviceFlags
	var details, reviews string
	cmd := &cobra.Command{
		Use: "frontend", Short: "Serve the shop's page, made of details and reviews", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := flags.identity("frontend")
			if err != nil {
				return err
			}
			app, err := frontend(id, details, reviews)
			if err != nil {
				return err
			}
			return shop.ServeHTTP(cmd.Context(), flags.listen, id, app)
		},
	}
	flags.add(cmd.Flags(), 8080)
	cmd.Flags().StringVar(&details, "details", "http://details/", "URL of details")
	cmd.Flags().StringVar(&reviews, "reviews", "http://reviews/", "URL of reviews")
	return cmd
}

func frontend(id shop.Identity, details, reviews string) (http.Handler, error) {
	detailsURL, err := url.Parse(details)
	if err != nil {
		return nil, fmt.Errorf("--details: %w", err)
	}
	reviewsURL, err := url.Parse(reviews)
	if err != nil {
		return nil, fmt.Errorf("--reviews: %w", err)
	}
	client, err := load.NewClient(load.Dial{})
	if err != nil {
		return nil, err
	}
	return shop.Frontend(id, client, detailsURL, reviewsURL), nil
}

func newDetails() *cobra.Command {
	var flags serviceFlags
	cmd := &cobra.Command{
		Use: "details", Short: "Serve what the book is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := flags.identity("details")
			if err != nil {
				return err
			}
			return shop.ServeHTTP(cmd.Context(), flags.listen, id, shop.Details(id))
		},
	}
	flags.add(cmd.Flags(), 8080)
	return cmd
}

func newReviews() *cobra.Command {
	var flags serviceFlags
	var ratings string
	cmd := &cobra.Command{
		Use: "reviews", Short: "Serve what readers say", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := flags.identity("reviews")
			if err != nil {
				return err
			}
			client, err := ratingsClient(ratings)
			if err != nil {
				return err
			}
			return shop.ServeHTTP(cmd.Context(), flags.listen, id, shop.Reviews(id, client))
		},
	}
	flags.add(cmd.Flags(), 8080)
	cmd.Flags().StringVar(&ratings, "ratings", "", "HOST:PORT of ratings (gRPC); empty asks for no stars")
	return cmd
}

// ratingsClient returns nil for no target: reviews without stars.
func ratingsClient(target string) (ratingspb.RatingsClient, error) {
	if target == "" {
		return nil, nil
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("--ratings %q: %w", target, err)
	}
	return ratingspb.NewRatingsClient(conn), nil
}

func newRatings() *cobra.Command {
	var flags serviceFlags
	cmd := &cobra.Command{
		Use: "ratings", Short: "Serve the book's stars over gRPC", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := flags.identity("ratings")
			if err != nil {
				return err
			}
			return shop.ServeRatings(cmd.Context(), flags.listen, id)
		},
	}
	flags.add(cmd.Flags(), 9000)
	return cmd
}

func newIdle() *cobra.Command {
	return &cobra.Command{
		Use: "idle", Short: "Do nothing until stopped: a pod to run clients in", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			<-cmd.Context().Done()
			return nil
		},
	}
}
