// The end-to-end test: the agent between a real kube-apiserver and real clients. `tests/e2e/run` builds and starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/features"
	"k8s.io/klog/v2"
)

// run is what every scenario has.
type run struct {
	*report
	cloud   *cloud
	dir     string
	program string
	kubectl string
	number  int
}

// scenarios in the order in which they run.
var scenarios = []struct {
	name string
	play func(context.Context, *run)
}{
	{"online", online},
	{"kubectl", kubectlThrough},
	{"cut-refuse", func(ctx context.Context, r *run) { cut(ctx, r, refuse) }},
	{"cut-reset", func(ctx context.Context, r *run) { cut(ctx, r, reset) }},
	{"cut-drop", func(ctx context.Context, r *run) { cut(ctx, r, drop) }},
	{"reboot", reboot},
	{"homecoming", homecoming},
	{"kills", kills},
}

// gates are client-go's own, but for WatchList, which scenarios switch.
type gates struct {
	features.Gates
	watchList bool
}

func (g *gates) Enabled(key features.Feature) bool {
	if key == features.WatchListClient {
		return g.watchList
	}
	return g.Gates.Enabled(key)
}

var clientGates = &gates{watchList: true}

func main() {
	program := flag.String("toono", "", "the agent's binary")
	kubectl := flag.String("kubectl", "kubectl", "kubectl's binary")
	flag.Parse()
	// client-go's own log would bury the report; it says what scenarios provoke.
	logging := flag.NewFlagSet("klog", flag.ExitOnError)
	klog.InitFlags(logging)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := logging.Set(name, value); err != nil {
			stop("klog: %v", err)
		}
	}
	klog.SetOutput(io.Discard)
	clientGates.Gates = features.FeatureGates()
	features.ReplaceFeatureGates(clientGates)
	dir, err := os.MkdirTemp("", "toono-e2e-")
	if err != nil {
		stop("temporary folder: %v", err)
	}
	defer os.RemoveAll(dir)
	defer endAll()
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	cloud, err := startCloud(ctx, dir)
	if err != nil {
		stop("cloud: %v", err)
	}
	r := &run{report: &report{}, cloud: cloud, dir: dir, program: *program, kubectl: *kubectl}
	known := 0
	for _, scenario := range scenarios {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), scenario.name) {
			continue
		}
		known++
		r.begin(scenario.name)
		scenario.play(ctx, r)
		r.end()
	}
	if known < flag.NArg() {
		stop("no such scenario among %v", flag.Args())
	}
	status := r.summary()
	endAll()
	os.RemoveAll(dir)
	os.Exit(status)
}

// node starts a relay and an agent with an empty state folder; `off` ends both.
func (r *run) node() (a *agent, line *relay, off func()) {
	r.number++
	line, err := newRelay(r.cloud.address)
	if err != nil {
		stop("%v", err)
	}
	a, err = newAgent(r.program, filepath.Join(r.dir, fmt.Sprintf("node-%d", r.number)), line, r.cloud.keys)
	if err != nil {
		stop("%v", err)
	}
	return a, line, func() {
		r.check("the agent lived until it was ended", a.died())
		r.note("%s; %s", a.weight(), a.flash())
		a.proc.end()
		line.set(refuse)
	}
}
