// The end-to-end test: a real kube-apiserver, a line that can be cut, `toono agent`, and real clients behind it.
//
// `tests/e2e/run` builds everything and starts this program with the scenarios to play (none: all).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"k8s.io/klog/v2"
)

var scenarios = []scenario{
	{"online", online},
	{"kubectl", kubectl},
	{"kubectl-cut", kubectlCut},
	{"factories", factories},
	{"python", python},
	{"kube-rs", kubeRs},
	{"cut-refuse", func(s *scene) { cutOff(s, refuse) }},
	{"cut-reset", func(s *scene) { cutOff(s, reset) }},
	{"cut-drop", func(s *scene) { cutOff(s, drop) }},
	{"reboot", reboot},
	{"homecoming", homecoming},
	{"resume", resume},
	{"kills", kills},
	{"flash", flash},
	{"kubelet", kubelet},
}

func main() {
	var chosen []scenario
	for _, name := range os.Args[1:] {
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
	os.Exit(run(chosen, program))
}

func run(chosen []scenario, program string) int {
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
	c, err := startCloud(ctx, dir)
	if err != nil {
		stop("%v", err)
	}
	w := &world{report: &report{}, cloud: c, writer: newWriter(c.direct), dir: dir, program: program}
	for _, s := range chosen {
		w.play(ctx, s)
	}
	status := w.report.summary()
	c.api.kill()
	c.etcd.kill()
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
