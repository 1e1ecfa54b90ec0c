// The line is up: informers, plain watches and kubectl through the agent.
package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

func online(ctx context.Context, r *run) {
	for _, watchList := range []bool{true, false} {
		clientGates.watchList = watchList
		mode := fmt.Sprintf("WatchList %v", watchList)
		ctx, cancel := context.WithCancel(ctx)
		a, _, off := r.node()
		churn(ctx, r.cloud, "before", 70)
		informers := watchKinds(ctx, a.door, kinds)
		r.check(mode+": informers of seven kinds sync", within(20*time.Second, func() string { return agree(ctx, r.cloud, informers) }))
		ours, theirs := recordAll(ctx, r.cloud, a.door)
		churn(ctx, r.cloud, "during", 420)
		r.check(mode+": informers hold what the server has", within(20*time.Second, func() string { return agree(ctx, r.cloud, informers) }))
		r.check(mode+": informers were told of nothing hidden and no older version", well(informers))
		r.check(mode+": plain watches heard each event once and in order", compare(ours, theirs, (*recorder).same))
		for _, k := range kinds {
			server, _, _ := r.cloud.direct.list(ctx, k.all())
			listed, _, answer := a.door.list(ctx, k.all())
			if listed == nil {
				r.check(mode+": list of "+k.plural, answer.String())
				continue
			}
			r.check(mode+": list of "+k.plural, listed.differs(server.visible()))
		}
		cancel()
		off()
	}
	clientGates.watchList = true
}

func kubectlThrough(ctx context.Context, r *run) {
	a, _, off := r.node()
	defer off()
	kubectl := func(input string, arguments ...string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		command := exec.CommandContext(ctx, r.kubectl, append([]string{"--server", a.door.base, "--cache-dir", r.dir + "/kubectl", "-n", home}, arguments...)...)
		command.Stdin = strings.NewReader(input)
		out, err := command.CombinedOutput()
		return string(out), err
	}
	expect := func(name, wanted, input string, arguments ...string) {
		out, err := kubectl(input, arguments...)
		why := ""
		if err != nil || !strings.Contains(out, wanted) {
			why = fmt.Sprintf("kubectl %s: %v: %s (expected %q)", strings.Join(arguments, " "), err, out, wanted)
		}
		r.check(name, why)
	}
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b}\n"
	expect("apply", "configmap/applied created", manifest, "apply", "-f", "-")
	expect("apply again", "configmap/applied unchanged", manifest, "apply", "-f", "-")
	expect("get as a table", "applied", "", "get", "configmaps")
	expect("get as names", "configmap/applied", "", "get", "configmaps", "-o", "name")
	expect("get one as yaml", "a: b", "", "get", "configmap", "applied", "-o", "yaml")
	expect("label", "configmap/applied labeled", "", "label", "configmap", "applied", "x=y")
	expect("get by label", "configmap/applied", "", "get", "configmaps", "-l", "x=y", "-o", "name")
	expect("get --raw", `"major"`, "", "get", "--raw", "/version")
	seen := make(chan string, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
		defer cancel()
		out, _ := exec.CommandContext(ctx, r.kubectl, "--server", a.door.base, "-n", home, "get", "configmaps", "-w", "-o", "name").Output()
		seen <- string(out)
	}()
	time.Sleep(2 * time.Second)
	expect("delete", `configmap "applied" deleted`, "", "delete", "configmap", "applied")
	why := ""
	if out := <-seen; strings.Count(out, "configmap/applied") < 2 {
		why = "it saw " + out
	}
	r.check("get -w sees the object and its deletion", why)
	out, err := kubectl("", "get", "pod", "nobody")
	why = ""
	if err == nil || !strings.Contains(out, `pods "nobody" not found`) {
		why = out
	}
	r.check("what is not there is not found", why)
}
