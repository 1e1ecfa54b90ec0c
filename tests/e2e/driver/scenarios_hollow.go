// Several hollow nodes (kubemark) live on one agent: everything ends at once, the line being cut, and starts again without it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	hollowHome  = "hollow"
	hollowNodes = 3
	hollowPods  = 4 // a node
)

// hollowPod takes a config map, a secret and a token, all three of which a hollow kubelet really reads.
const hollowPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"nodeName":%q,"serviceAccountName":"default",
"containers":[{"name":"main","image":"` + image + `","imagePullPolicy":"IfNotPresent",
"env":[{"name":"WORD","valueFrom":{"secretKeyRef":{"name":"given","key":"word"}}}],
"volumeMounts":[{"name":"given","mountPath":"/etc/given"},{"name":"token","mountPath":"/etc/token"}]}],
"volumes":[{"name":"given","configMap":{"name":"given"}},
{"name":"token","projected":{"sources":[{"serviceAccountToken":{"path":"token","expirationSeconds":3600}}]}}]}}`

// hollow is one such node.
type hollow struct {
	name, base, log string // base: where it tells of itself
	port, readOnly  string
	proc            *process
}

func (h *hollow) start(base string) {
	var err error
	if h.proc, err = start(h.name, h.log, "bash", filepath.Join("node", "hollow"), h.name, nodeAddress, base, h.port, h.readOnly); err != nil {
		stop("%v", err)
	}
}

// hollows is the scenario, and its nodes.
type hollows struct {
	*scene
	nodes []*hollow
	uids  map[string]string // of pods, by name
}

func hollowFleet(s *scene) {
	if os.Getenv("E2E_OWN_NETWORK") == "" || os.Getuid() != 0 {
		s.check("a hollow node can be started", "only root can start one, in a network of the run's own")
		return
	}
	h := &hollows{scene: s, uids: map[string]string{}}
	h.furnish()
	space := "/api/v1/namespaces/" + hollowHome
	for n := range hollowNodes {
		name := fmt.Sprintf("hollow-%d", n+1)
		// The kubelet of a node that is not there yet takes 20 s to register it.
		s.writer.must(s.server.send(s.ctx, "POST", "/api/v1/nodes", "application/json", fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"kubernetes.io/hostname":%[1]q}}}`, name)))
		one := &hollow{name: name, log: filepath.Join(s.agent.dir, name+".log"), port: portOf(freeAddress()), readOnly: portOf(freeAddress())}
		one.base = "http://127.0.0.1:" + one.readOnly
		h.nodes = append(h.nodes, one)
		for p := range hollowPods {
			pod := fmt.Sprintf("%s-%d", name, p+1)
			a := s.server.send(s.ctx, "POST", space+"/pods", "application/json", fmt.Sprintf(hollowPod, pod, name))
			s.writer.must(a)
			var made struct{ Metadata struct{ UID string } }
			if err := json.Unmarshal(a.body, &made); err != nil {
				stop("%s: %v", a, err)
			}
			h.uids[pod] = made.Metadata.UID
		}
	}
	defer h.off()
	began := time.Now()
	h.on()
	if !s.check(fmt.Sprintf("%d hollow nodes become Ready", hollowNodes), within(60*time.Second, func() string { return h.ready(time.Time{}) })) {
		return
	}
	s.note("they are Ready after %.1f s", time.Since(began).Seconds())
	if !s.check(fmt.Sprintf("%d pods run on them", len(h.uids)), within(60*time.Second, func() string { return h.delivered(time.Time{}) })) {
		return
	}
	w := s.witnessed(hollowHome)
	for _, how := range []mode{refuse, drop} {
		h.starts(how)
		s.check(fmt.Sprintf("no pod was deleted, failed or replaced on the server (%s)", how), w.saw())
	}
}

// furnish makes what the pods take.
func (h *hollows) furnish() {
	if err := h.cloud.namespace(h.ctx, hollowHome); err != nil {
		stop("%v", err)
	}
	for path, body := range map[string]string{
		"/serviceaccounts": `{"metadata":{"name":"default"}}`,
		"/configmaps":      `{"metadata":{"name":"given"},"data":{"text":"from a config map"}}`,
		"/secrets":         `{"metadata":{"name":"given"},"stringData":{"word":"from-a-secret"}}`,
	} {
		h.writer.must(h.server.send(h.ctx, "POST", "/api/v1/namespaces/"+hollowHome+path, "application/json", body))
	}
}

func portOf(address string) string { return address[strings.LastIndex(address, ":")+1:] }

func (h *hollows) on() {
	for _, n := range h.nodes {
		n.start(h.agent.door.base)
	}
}

func (h *hollows) off() {
	for _, n := range h.nodes {
		if n.proc != nil {
			n.proc.kill()
		}
	}
}

// starts ends agent and kubelets while the line is cut, starts them, and brings the line back.
func (h *hollows) starts(how mode) {
	when := fmt.Sprintf(" (%s)", how)
	time.Sleep(2 * time.Second) // when a container started is told in whole seconds, and is to differ
	h.line.set(how)
	h.off()
	began := time.Now()
	if _, err := h.agent.restart(); !h.check("the agent starts offline"+when, whyNot(err)) {
		return
	}
	h.on()
	h.check("every hollow node has its pods running again while cut off"+when, within(30*time.Second, h.have))
	h.note("%d pods run on %d hollow nodes %.1f s after the start, cut off", len(h.uids), len(h.nodes), time.Since(began).Seconds())
	back := time.Now()
	h.line.set(pass)
	// A hollow kubelet renews its lease each 10 s, and says what it is at its first registration, which it tries for 20 s.
	h.check("every hollow node is Ready and renews its lease on the return"+when, within(45*time.Second, func() string { return h.ready(back) }))
	h.note("the last of them has renewed it after %.1f s", time.Since(back).Seconds())
	h.check("every pod's new state is delivered"+when, within(45*time.Second, func() string { return h.delivered(began) }))
}

// runningContainers is how many a kubelet counts in its runtime, which has forgotten all when it starts.
var runningContainers = regexp.MustCompile(`(?m)^kubelet_running_containers\{container_state="running"\} (\d+)$`)

// have asks each hollow node itself, which pods it knows and how many containers it runs. What it tells of a pod's state is the
// server's, of before.
func (h *hollows) have() string {
	var complaints []string
	for _, n := range h.nodes {
		var list corev1.PodList
		pods, err := h.read(n.base + "/pods")
		if err == nil {
			err = json.Unmarshal(pods, &list)
		}
		if err != nil {
			complaints = append(complaints, fmt.Sprintf("%s: %v", n.name, err))
			continue
		}
		for _, p := range list.Items {
			if string(p.UID) != h.uids[p.Name] {
				complaints = append(complaints, fmt.Sprintf("pod %s: uid %s of %s", p.Name, p.UID, h.uids[p.Name]))
			}
		}
		figures, err := h.read(n.base + "/metrics")
		running := "none"
		if found := runningContainers.FindSubmatch(figures); found != nil {
			running = string(found[1])
		}
		if err != nil || running != strconv.Itoa(hollowPods) || len(list.Items) != hollowPods {
			complaints = append(complaints, fmt.Sprintf("%s has %d pods and runs %s of %d, %v", n.name, len(list.Items), running, hollowPods, err))
		}
	}
	return few(complaints)
}

func (h *hollows) read(url string) ([]byte, error) {
	response, err := h.server.http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

// ready: the server knows the nodes as Ready, and leases that were renewed after a moment.
func (h *hollows) ready(after time.Time) string {
	var complaints []string
	for _, n := range h.nodes {
		node, err := h.server.proto.CoreV1().Nodes().Get(h.ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		good := false
		for _, c := range node.Status.Conditions {
			good = good || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}
		lease, err := h.server.proto.CoordinationV1().Leases("kube-node-lease").Get(h.ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if !good || lease.Spec.RenewTime == nil || lease.Spec.RenewTime.Time.Before(after) {
			complaints = append(complaints, fmt.Sprintf("%s: Ready: %v, lease renewed at %v", n.name, good, lease.Spec.RenewTime))
		}
	}
	return few(complaints)
}

// delivered: the server knows every pod's container as running since after a moment.
func (h *hollows) delivered(after time.Time) string {
	list, err := h.server.proto.CoreV1().Pods(hollowHome).List(h.ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	var complaints []string
	for _, p := range list.Items {
		if !runsSince(&p, after) {
			complaints = append(complaints, fmt.Sprintf("pod %s is %s, %v", p.Name, p.Status.Phase, p.Status.ContainerStatuses))
		}
	}
	if len(list.Items) != len(h.uids) {
		complaints = append(complaints, fmt.Sprintf("%d pods of %d", len(list.Items), len(h.uids)))
	}
	return few(complaints)
}

// runsSince: what is told of a pod's container was not told of one that ran before.
func runsSince(p *corev1.Pod, moment time.Time) bool {
	states := p.Status.ContainerStatuses
	return p.Status.Phase == corev1.PodRunning && len(states) == 1 && states[0].State.Running != nil &&
		!states[0].State.Running.StartedAt.Time.Before(moment.Truncate(time.Second))
}
