// The end-to-end test: a real kube-apiserver, a line that can be cut, `toono agent`, and real clients behind it.
//
// `tests/e2e/run` builds everything and starts this program with the scenarios to play (none: all). A node runs
// it too, as the tap on what its kubelet asks.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"syscall"

	"k8s.io/klog/v2"
)

var scenarios = []scenario{
	{name: "online", play: online},
	{name: "kubectl", play: kubectl},
	{name: "kubectl-cut", play: kubectlCut},
	{name: "factories", play: factories},
	{name: "python", play: python},
	{name: "kube-rs", play: kubeRs},
	{name: "cut-refuse", play: func(s *scene) { cutOff(s, refuse) }},
	{name: "cut-reset", play: func(s *scene) { cutOff(s, reset) }},
	{name: "cut-drop", play: func(s *scene) { cutOff(s, drop) }},
	{name: "reboot", play: reboot},
	{name: "homecoming", play: homecoming},
	{name: "resume", play: resume},
	{name: "kills", play: kills},
	{name: "flash", play: flash},
	{name: "kubelet", play: kubelet},
	{name: "reboot-node", alone: rebootNode},
	{name: "hollow", play: hollowFleet},
}

func main() {
	if len(os.Args) == 5 && os.Args[1] == "tap" {
		tap(os.Args[2], os.Args[3], os.Args[4])
	}
	var chosen []scenario
	rounds := 3
	args := os.Args[1:]
	if i := slices.Index(args, "--rounds"); i >= 0 {
		var err error
		if i+1 < len(args) {
			rounds, err = strconv.Atoi(args[i+1])
		}
		if i+1 == len(args) || err != nil || rounds < 1 {
			fmt.Fprintln(os.Stderr, "e2e: --rounds wants a number")
			os.Exit(2)
		}
		args = slices.Delete(args, i, i+2)
	}
	for _, name := range args {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			fmt.Fprintf(os.Stderr, "e2e: no scenario %q; there are:", name)
			for _, s := range scenarios {
				fmt.Fprintf(os.Stderr, " %s", s.name)
			}
			fmt.Fprintln(os.Stderr)
			os.Exit(2)
		}
		chosen = append(chosen, scenarios[i])
	}
	if len(chosen) == 0 {
		chosen = scenarios
	}
	program := os.Getenv("TOONO_BIN")
	if _, err := exec.LookPath(program); err != nil {
		stop("TOONO_BIN: %v", err)
	}
	os.Exit(run(chosen, program, rounds))
}

func run(chosen []scenario, program string, rounds int) int {
	ctx := context.Background()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() { stop("ended by %v", <-signals) }()
	dir, err := os.MkdirTemp("", "toono-e2e-")
	if err != nil {
		stop("folder of the run: %v", err)
	}
	quietLibraries(dir + "/client-go.log")
	defer endAll()
	fmt.Printf("logs: %s\n", dir)
	c, err := startCloud(ctx, dir, false)
	if err != nil {
		stop("%v", err)
	}
	w := &world{report: &report{}, cloud: c, writer: newWriter(c.direct), dir: dir, program: program, rounds: rounds}
	for _, s := range chosen {
		w.play(ctx, s)
	}
	status := w.report.summary()
	c.end()
	if status == 0 && os.Getenv("E2E_KEEP") == "" {
		_ = os.RemoveAll(dir)
	}
	return status
}

// quietLibraries sends what client-go logs (every refused connection) to a file.
func quietLibraries(path string) {
	f, err := os.Create(path)
	if err != nil {
		stop("%v", err)
	}
	flags := flag.NewFlagSet("klog", flag.ExitOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL", "one_output": "true"} {
		if err := flags.Set(name, value); err != nil {
			stop("klog: %v", err)
		}
	}
	klog.SetOutput(f)
}
