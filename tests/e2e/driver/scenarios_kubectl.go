// kubectl through the agent: reading, watching, writing, and raw paths.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// kubectl runs one command against the agent and returns what it printed, and how it failed.
func (s *scene) kubectl(limit time.Duration, input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	command := exec.CommandContext(ctx, "kubectl", append([]string{"--server", s.agent.door.base, "--cache-dir", filepath.Join(s.agent.dir, "kubectl")}, args...)...)
	command.Env = append(append(os.Environ(), "KUBECONFIG="+os.DevNull), s.extra...)
	command.Stdin = strings.NewReader(input)
	var out, bad bytes.Buffer
	command.Stdout, command.Stderr = &out, &bad
	err := command.Run()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, lastLine(bad.String()))
	}
	return out.String(), err
}

// lastLine leaves out what kubectl logs before it says why it fails.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func kubectl(s *scene) {
	const namespace = "kubectl"
	if err := s.cloud.namespace(s.ctx, namespace); err != nil {
		stop("%v", err)
	}
	maps := kinds[0]
	for i, name := range []string{"one", "two", "three", hidden + "four"} {
		s.writer.createAs(s.ctx, maps, namespace, name, i)
	}
	run := func(input string, args ...string) (string, error) {
		return s.kubectl(20*time.Second, input, append([]string{"-n", namespace}, args...)...)
	}
	expect := func(name, input string, wanted func(string) bool, args ...string) {
		out, err := run(input, args...)
		why := whyNot(err)
		if err == nil && !wanted(out) {
			why = fmt.Sprintf("kubectl %s printed %q", strings.Join(args, " "), out)
		}
		s.check(name, why)
	}
	holds := func(parts ...string) func(string) bool {
		return func(out string) bool {
			return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(out, p) }) && !strings.Contains(out, hidden)
		}
	}

	expect("get -o name", "", func(out string) bool {
		return strings.Join(strings.Fields(out), " ") == "configmap/one configmap/three configmap/two"
	}, "get", "configmaps", "-o", "name")
	expect("get as a table", "", holds("NAME", "one", "two", "three"), "get", "configmaps")
	expect("get one in JSON", "", holds(`"name": "two"`, `"kind": "ConfigMap"`), "get", "configmap", "two", "-o", "json")
	expect("get of all namespaces", "", holds("one", "kube-system"), "get", "configmaps", "-A")
	expect("get with a selector", "", func(out string) bool { return strings.TrimSpace(out) == "configmap/two" },
		"get", "configmaps", "-l", "third=1", "-o", "name")
	expect("get --raw", "", holds(`"ConfigMapList"`, `"one"`), "get", "--raw", "/api/v1/namespaces/"+namespace+"/configmaps")
	expect("get --raw /version", "", holds(`"gitVersion"`), "get", "--raw", "/version")
	expect("api-resources", "", holds("configmaps", "widgets"), "api-resources")
	expect("explain", "", holds("ConfigMap"), "explain", "configmap")

	applied := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"},"data":{"turn":"%d"}}`
	expect("apply makes", fmt.Sprintf(applied, 1), holds("configmap/applied created"), "apply", "-f", "-")
	expect("apply changes", fmt.Sprintf(applied, 2), holds("configmap/applied configured"), "apply", "-f", "-")
	expect("apply on the server's side", fmt.Sprintf(applied, 3), holds("configmap/applied serverside-applied"),
		"apply", "--server-side", "--force-conflicts", "-f", "-")
	expect("label", "", holds("configmap/applied labeled"), "label", "configmap", "applied", "marked=yes")
	made := s.server.mustList(s.ctx, maps.in(namespace)).objects[namespace+"/applied"].content
	why := ""
	if !strings.Contains(made, `"turn":"3"`) || !strings.Contains(made, `"marked":"yes"`) {
		why = "the server has " + made
	}
	s.check("what kubectl wrote is on the server", why)
	expect("delete", "", holds(`configmap "applied" deleted`), "delete", "configmap", "applied")
	if out, err := run("", "get", "configmap", "applied"); err == nil || !strings.Contains(err.Error(), "NotFound") {
		s.check("get of a deleted object", fmt.Sprintf("expected NotFound, got %q, %v", out, err))
	} else {
		s.check("get of a deleted object", "")
	}
	s.check("get -w", s.getWatch(namespace, maps))
}

// getWatch runs `kubectl get -w` for some seconds while objects change.
func (s *scene) getWatch(namespace string, maps kind) string {
	type result struct {
		out string
		err error
	}
	done := make(chan result)
	go func() {
		out, err := s.kubectl(5*time.Second, "", "-n", namespace, "get", "configmaps", "-w", "-o", "name")
		done <- result{out, err}
	}()
	time.Sleep(2 * time.Second)
	s.writer.createAs(s.ctx, maps, namespace, "during", 1)
	s.writer.createAs(s.ctx, maps, namespace, hidden+"during", 1)
	s.writer.touch(s.ctx, maps, namespace, "one")
	r := <-done
	got := strings.Join(strings.Fields(r.out), " ")
	const want = "configmap/one configmap/three configmap/two configmap/during configmap/one"
	if got != want {
		return fmt.Sprintf("printed %q, expected %q (%v)", got, want, r.err)
	}
	return ""
}
