// A real kubelet and containerd live on the agent: pods run, exec and logs go through it, and neither the agent's end nor the
// line's disturbs what runs.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	kubeletHome = "kubelet"
	nodeAddress = "10.200.0.11" // on the loopback interface of the network namespace that `run` makes
)

// counting is a pod that prints a number twice a second, and takes a config map, a secret and a token of its account.
const counting = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"nodeName":"` + nodeName + `","terminationGracePeriodSeconds":1,
"serviceAccountName":"default","enableServiceLinks":false,"containers":[{"name":"main","image":"` + image + `","imagePullPolicy":"Never",
"command":["/bin/sh","-c","n=0; while true; do n=$((n+1)); echo line $n; sleep 0.5; done"],
"env":[{"name":"WORD","valueFrom":{"secretKeyRef":{"name":"given","key":"word"}}}],
"volumeMounts":[{"name":"given","mountPath":"/etc/given"},{"name":"token","mountPath":"/etc/token"}]}],
"volumes":[{"name":"given","configMap":{"name":"given"}},
{"name":"token","projected":{"sources":[{"serviceAccountToken":{"path":"token","expirationSeconds":3600}}]}}]}}`

// modest is a pod that takes a config map only: no token has to be asked for when its container is started again.
const modest = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"nodeName":"` + nodeName + `","terminationGracePeriodSeconds":1,
"automountServiceAccountToken":false,"enableServiceLinks":false,"containers":[{"name":"main","image":"` + image + `","imagePullPolicy":"Never",
"command":["/bin/sh","-c","n=0; while true; do n=$((n+1)); echo line $n; sleep 0.5; done"],
"volumeMounts":[{"name":"given","mountPath":"/etc/given"}]}],"volumes":[{"name":"given","configMap":{"name":"given"}}]}}`

func kubelet(s *scene) {
	if os.Getuid() != 0 {
		s.check("a node can be started", "only root can start one")
		return
	}
	if err := s.cloud.namespace(s.ctx, kubeletHome); err != nil {
		stop("%v", err)
	}
	space := "/api/v1/namespaces/" + kubeletHome
	for path, body := range map[string]string{
		"/serviceaccounts": `{"metadata":{"name":"default"}}`,
		"/configmaps":      `{"metadata":{"name":"given"},"data":{"text":"from a config map"}}`,
		"/secrets":         `{"metadata":{"name":"given"},"stringData":{"word":"from-a-secret"}}`,
	} {
		if a := s.server.send(s.ctx, "POST", space+path, "application/json", body); a.status != 201 && a.status != 409 {
			stop("%s", a)
		}
	}
	n, err := makeNode(filepath.Join(s.agent.dir, "node"), plan{address: nodeAddress, base: s.agent.door.base, kubelet: "nodeLeaseDurationSeconds: 8\n"}, s.cloud.keys)
	if err == nil {
		err = n.boot()
	}
	if err != nil {
		stop("node: %v", err)
	}
	defer n.off()
	f := &farm{s, n}
	began := time.Now()
	if !s.check("the node becomes Ready", f.withWords(within(60*time.Second, f.ready))) {
		return
	}
	s.note("the node is Ready after %.1f s", time.Since(began).Seconds())
	if !f.runs("one", "") {
		return
	}
	f.given("one")
	f.place(fmt.Sprintf(modest, "modest"))
	s.check("a pod with a config map runs", f.withWords(within(60*time.Second, func() string { return f.running("modest") })))
	f.execs("one", "online")
	f.logs("one", "online")

	// The agent ends and starts again, the line being up.
	before := f.container("one")
	renewed := f.renewed()
	if _, err := s.agent.restart(); !s.check("the agent starts again", whyNot(err)) {
		return
	}
	s.check("the lease is renewed after a start of the agent", within(20*time.Second, func() string { return f.newer(renewed) }))
	f.undisturbed("one", before, "by a start of the agent")
	f.runs("two", " after a start of the agent")
	f.execs("one", "after a start of the agent")

	// The line is cut; then the agent and the kubelet end as well.
	for _, how := range []mode{drop, refuse} {
		when := fmt.Sprintf(" while cut (%s)", how)
		if how == refuse {
			s.check("the kubelet is killed and starts again, speaking JSON", f.speakJSON()+f.node.kill("kubelet"))
			f.runs("spelled", " with a kubelet that speaks JSON")
		}
		ended := f.followed("one")
		s.line.set(how)
		s.check("kubectl logs -f ends"+when, ended(20*time.Second))
		f.refuses("one", when)
		if how == refuse {
			if _, err := s.agent.restart(); !s.check("the agent starts offline", whyNot(err)) {
				return
			}
			s.check("the kubelet is killed and starts offline", f.node.kill("kubelet"))
			when = " after an offline start of agent and kubelet"
		}
		f.goesOn("one", when)
		if how == refuse {
			f.revives("modest", when)
		}
		f.place(fmt.Sprintf(counting, "missed-"+string(how)))
		s.writer.must(s.server.send(s.ctx, "DELETE", space+"/pods/two", "", ""))
		renewed, beat := f.renewed(), f.beat()
		s.line.set(pass)
		_, why := s.connected(30 * time.Second)
		s.check("the line is used again"+when, why)
		began := time.Now()
		s.check("the lease is renewed on the return"+when, f.withWords(within(15*time.Second, func() string { return f.newer(renewed) })))
		s.check("the node says again that it is Ready on the return"+when, within(20*time.Second, func() string {
			if now := f.beat(); now <= beat {
				return fmt.Sprintf("last said at %q, before at %q", now, beat)
			}
			return f.ready()
		}))
		s.note("the lease is renewed %.1f s after the line is used again%s", time.Since(began).Seconds(), when)
		f.undisturbed("one", before, when)
		s.check("a pod that was made"+when+" runs on the return", f.withWords(within(60*time.Second, func() string { return f.running("missed-" + string(how)) })))
		s.check("a pod that was deleted"+when+" is gone on the return", f.withWords(within(30*time.Second, func() string { return f.gone("two") })))
		if how == drop {
			f.runs("two", " after a cut")
		}
	}
	f.execs("one", "at last")
	f.logs("one", "at last")
	if a := s.server.send(s.ctx, "DELETE", space+"/pods/one", "", ""); a.status != 200 {
		stop("%s", a)
	}
	s.check("a pod that is deleted ends", within(30*time.Second, func() string { return f.gone("one") }))
}

// place makes a pod on the server.
func (f *farm) place(pod string) {
	f.writer.must(f.server.send(f.ctx, "POST", "/api/v1/namespaces/"+kubeletHome+"/pods", "application/json", pod))
}

// revives kills a container on the node, and sees that the kubelet, which knows of the pod by the agent only, starts another.
func (f *farm) revives(name, when string) {
	why := f.node.end(f.container(name).id)
	was := f.lines(kubeletHome, name)
	if why == "" {
		why = within(30*time.Second, func() string {
			if now := f.lines(kubeletHome, name); now < was+4 {
				return fmt.Sprintf("it had printed %d lines when it was killed, now %d", was, now)
			}
			return ""
		})
	}
	f.check("a container that ends is started again"+when, f.withWords(why))
}

// runs makes a pod and waits for it.
func (f *farm) runs(name, when string) bool {
	f.place(fmt.Sprintf(counting, name))
	began := time.Now()
	good := f.check("a pod with a config map, a secret and a token runs"+when, f.withWords(within(60*time.Second, func() string { return f.running(name) })))
	f.note("the pod runs after %.1f s", time.Since(began).Seconds())
	return good
}

// undisturbed: the container is the one that ran before.
func (f *farm) undisturbed(name string, before container, by string) {
	why := ""
	if now := f.container(name); now != before || before.id == "" || before.started == "" {
		why = fmt.Sprintf("it was %v and is %v", before, now)
	}
	f.check("the container is not disturbed"+strings.Replace(" "+by, "  ", " ", 1), why)
}

// goesOn sees on the node's own disk that the container prints on for a while.
func (f *farm) goesOn(name, when string) {
	was := f.lines(kubeletHome, name)
	time.Sleep(8 * time.Second)
	why := ""
	if now := f.lines(kubeletHome, name); was == 0 || now < was+10 {
		why = fmt.Sprintf("it had printed %d lines, and %d after 8 s", was, now)
	}
	f.check("the container goes on"+when, why)
}

// given: the pod has what it was to be given.
func (f *farm) given(name string) {
	for what, want := range map[string]string{"cat /etc/given/text": "from a config map", "echo $WORD": "from-a-secret", "cat /etc/token/token": "ey"} {
		out, err := f.kubectl(20*time.Second, "", "-n", kubeletHome, "exec", name, "--", "sh", "-c", what)
		why := whyNot(err)
		if err == nil && !strings.HasPrefix(out, want) {
			why = fmt.Sprintf("printed %q", out)
		}
		f.check("in the pod, "+what, why)
	}
}

// execs runs commands in a pod by WebSocket and by SPDY, with input and a failing one.
func (f *farm) execs(name, when string) {
	for _, websockets := range []string{"true", "false"} {
		f.extra = []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + websockets}
		of := fmt.Sprintf("kubectl exec (websockets: %s) %s", websockets, when)
		input := strings.Repeat("0123456789abcdef\n", 20000)
		out, err := f.kubectl(20*time.Second, input, "-n", kubeletHome, "exec", "-i", name, "--", "cat")
		why := whyNot(err)
		if err == nil && out != input {
			why = fmt.Sprintf("%d bytes came back of %d", len(out), len(input))
		}
		f.check(of+" gives back 340,000 bytes", why)
		_, err = f.kubectl(20*time.Second, "", "-n", kubeletHome, "exec", name, "--", "sh", "-c", "exit 7")
		if why = ""; err == nil || !strings.Contains(err.Error(), "exit status 7") {
			why = fmt.Sprintf("expected exit status 7, got %v", err)
		}
		f.check(of+" tells a failure", why)
		f.extra = nil
	}
}

// refuses: neither exec nor logs can cross a line that is cut, and both say so.
func (f *farm) refuses(name, when string) {
	for _, args := range [][]string{{"exec", name, "--", "cat", "/etc/passwd"}, {"logs", name}} {
		began := time.Now()
		out, err := f.kubectl(20*time.Second, "", append([]string{"-n", kubeletHome}, args...)...)
		why := ""
		if err == nil || !strings.Contains(err.Error(), "the line to the API server is down") || time.Since(began) > 10*time.Second {
			why = fmt.Sprintf("after %.1f s: expected to hear that the line is down, got %q, %v", time.Since(began).Seconds(), out, err)
		}
		f.check("kubectl "+args[0]+" is refused"+when, why)
	}
}

// followed starts following a pod's logs, and returns what waits for its end.
func (f *farm) followed(name string) func(limit time.Duration) string {
	done := make(chan string, 1)
	go func() {
		out, err := f.kubectl(time.Minute, "", "-n", kubeletHome, "logs", "-f", name)
		if strings.Count(out, "\n") < 3 {
			done <- fmt.Sprintf("only %q was printed, %v", out, err)
		}
		close(done)
	}()
	time.Sleep(2 * time.Second)
	return func(limit time.Duration) string {
		select {
		case why := <-done:
			return why
		case <-time.After(limit):
			return fmt.Sprintf("it still waits after %s", limit)
		}
	}
}

// logs follows what a pod prints, from its first line on, for some seconds.
func (f *farm) logs(name, when string) {
	out, _ := f.kubectl(4*time.Second, "", "-n", kubeletHome, "logs", "-f", name)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	why := ""
	for n, line := range lines {
		if line != "line "+strconv.Itoa(n+1) {
			why = fmt.Sprintf("line %d is %q", n+1, line)
			break
		}
	}
	whole, err := f.kubectl(20*time.Second, "", "-n", kubeletHome, "logs", name)
	if after := strings.Count(whole, "\n"); why == "" && (len(lines) < 8 || err != nil || after < len(lines)) {
		why = fmt.Sprintf("%d lines followed, %d lines afterwards, %v", len(lines), after, err)
	}
	f.check("kubectl logs -f "+when+" prints every line", why)
	f.note("%d lines followed", len(lines))
}
