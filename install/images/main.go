// Command images writes Weft's container images as archives, without Docker:
// `make images` calls it.
//
// Inputs: the static binaries in bin/, which `make build` made, and an Envoy
// with the libraries that it needs from this machine. Outputs: OUT/NAME.tar,
// the same bytes for the same inputs; with --sbom what each is made of instead,
// for `make sbom`. It may import internal/image, internal/licence and
// internal/envoybin.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/image"
)

func main() {
	o := options{}
	flag.StringVar(&o.hub, "hub", "localhost/weft", "what names begin with")
	flag.StringVar(&o.tag, "tag", "", "tag of every image")
	flag.StringVar(&o.bin, "bin", "bin", "folder of the binaries")
	flag.StringVar(&o.out, "out", "dist/images", "folder to write to")
	flag.StringVar(&o.sbom, "sbom", "", "folder to write what each image is made of to, instead of the images")
	flag.StringVar(&o.tree, "tree", ".", "folder of the repository that the binaries were built from, for --sbom")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

type options struct{ hub, tag, bin, out, sbom, tree string }

// named is one image, and its name without hub and tag.
type named struct {
	name  string
	image image.Image
}

// Users that images run as. The proxy's is the one whose packets the capture
// rules leave alone.
const (
	proxyUser     = "1337:1337"
	componentUser = "65532:65532"
)

func run(ctx context.Context, o options) error {
	if o.tag == "" {
		return fmt.Errorf("--tag is empty: `make images` gives it")
	}
	proxy, err := o.proxy(ctx)
	if err != nil {
		return err
	}
	all := []named{
		{"pilot", o.component("pilot")}, {"ca", o.component("ca")}, {"injector", o.component("injector")},
		{"proxy", proxy}, {"bookshop", o.bookshop()},
	}
	if o.sbom != "" {
		return writeBills(ctx, o, all)
	}
	return writeImages(o, all)
}

func writeImages(o options, all []named) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	var failed error // one that cannot be made keeps none of the others from it
	for _, i := range all {
		i.image.Names = append(i.image.Names, o.hub+"/"+i.name+":"+o.tag)
		i.image.Labels = map[string]string{"org.opencontainers.image.title": "weft-" + i.name, "org.opencontainers.image.version": o.tag}
		start := time.Now()
		dest := filepath.Join(o.out, i.name+".tar")
		if err := i.image.Write(dest); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%w (`make build` makes the binaries)", err))
			continue
		}
		info, err := os.Stat(dest)
		if err != nil {
			return err
		}
		fmt.Printf("%-28s %6.1f MB  %v\n", dest, float64(info.Size())/1e6, time.Since(start).Round(time.Millisecond))
	}
	return failed
}

// component is an image of one static binary.
func (o options) component(name string) image.Image {
	return image.Image{
		Files: map[string]string{"/usr/local/bin/" + name: filepath.Join(o.bin, name)},
		Dirs:  []string{"/tmp"}, Entrypoint: []string{"/usr/local/bin/" + name}, User: componentUser,
	}
}

// proxy is what every pod of the mesh runs: the agent, Envoy with its
// libraries, and the program that redirects the pod's traffic to it.
func (o options) proxy(ctx context.Context) (image.Image, error) {
	envoy, err := envoybin.Ensure(ctx, func(line string) { fmt.Println(line) })
	if err != nil {
		return image.Image{}, err
	}
	files, err := image.Libraries(envoy)
	if err != nil {
		return image.Image{}, err
	}
	files["/usr/local/bin/envoy"] = envoy
	for _, name := range []string{"agent", "capture"} {
		files["/usr/local/bin/"+name] = filepath.Join(o.bin, name)
	}
	return image.Image{
		Names: []string{o.hub + "/proxy:dev"}, // of samples/plain-envoy
		Files: files, Dirs: []string{"/tmp"}, Entrypoint: []string{"/usr/local/bin/agent"}, User: proxyUser,
	}, nil
}

// bookshop is the sample's image. Its second name is the one that the samples'
// YAML says. The command there, ../../bin/bookshop from a sample's folder, leads
// to /bin/bookshop from / too.
func (o options) bookshop() image.Image {
	return image.Image{
		Names: []string{o.hub + "/bookshop:dev"},
		Files: map[string]string{"/bin/bookshop": filepath.Join(o.bin, "bookshop")},
		Dirs:  []string{"/tmp"}, Entrypoint: []string{"/bin/bookshop"}, User: componentUser,
	}
}
