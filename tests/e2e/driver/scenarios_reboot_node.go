// A node with its pods loses the line and its power, and boots without a cloud: everything comes back from what the agent keeps.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	backWait     = 10 * time.Second // from the boot until every pod runs
	firstPodWait = 3 * time.Second  // from the boot until the first pod runs; a machine that takes longer has other things to do
	readyWait    = 15 * time.Second // from the line's return until the node is Ready
	noticeWait   = 6 * time.Second  // until a cut or a boot without a line is noticed
)

func rebootNode(ctx context.Context, w *world) {
	if os.Getenv("E2E_OWN_NETWORK") == "" || os.Getuid() != 0 {
		w.report.check("a node can be started", "only root can start one, in a network of the run's own")
		return
	}
	for _, args := range [][]string{{"link", "add", "uplink", "type", "bridge"}, {"address", "add", uplinkAddress + "/24", "dev", "uplink"}, {"link", "set", "uplink", "up"}} {
		if _, err := tool("ip", args...); err != nil {
			stop("%v", err)
		}
	}
	dir := filepath.Join(w.dir, "reboot-node")
	c, err := startCloud(ctx, dir, true)
	if err != nil {
		stop("%v", err)
	}
	defer c.end()
	line, err := newRelay(uplinkAddress, c.address)
	if err != nil {
		stop("%v", err)
	}
	s := &scene{report: w.report, ctx: ctx, cloud: c, server: c.direct, writer: w.writer, line: line}
	s.furnished()
	h := &homestead{station: newStation(s, filepath.Join(dir, "node"), w.program)}
	defer h.powerOff()
	if !h.settles() {
		return
	}
	kinds := []mode{refuse, reset, drop, unplug}
	w.writer.dice.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	next := 0
	how := func() mode { next++; return kinds[next%len(kinds)] }
	for round := range w.rounds {
		h.reboots(round+1, how(), time.Duration(w.writer.dice.IntN(5500)-1500)*time.Millisecond, time.Duration(w.writer.dice.IntN(4000))*time.Millisecond)
	}
	h.outlives("the agent", h.program, how())
	h.outlives("the kubelet", "kubelet", how())
	h.withoutMirror(how())
}

// furnished makes what pods need, and another node, so that the controllers never take the whole cluster for lost.
func (s *scene) furnished() {
	post := func(path, body string) string {
		if a := s.server.send(s.ctx, "POST", path, "application/json", body); a.status != 201 && a.status != 409 {
			return a.String()
		}
		return ""
	}
	must := func(why string) {
		if why != "" {
			stop("%s", why)
		}
	}
	if err := s.cloud.namespace(s.ctx, kubeletHome); err != nil {
		stop("%v", err)
	}
	space := "/api/v1/namespaces/" + kubeletHome
	must(post(space+"/configmaps", `{"metadata":{"name":"given"},"data":{"text":"from a config map"}}`))
	must(post(space+"/secrets", `{"metadata":{"name":"given"},"stringData":{"word":"from-a-secret"}}`))
	must(post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"metadata":{"name":"proxy"},
"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"system:node-proxier"},
"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"`+nodeUser+`"}]}`))
	for name, address := range addresses {
		must(post(space+"/services", fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"clusterIP":%q,"selector":{"app":%[1]q},"ports":[{"port":80,"targetPort":%[3]s}]}}`,
			name, address, ports[name])))
	}
	must(post("/api/v1/nodes", `{"metadata":{"name":"other"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`))
	must(within(20*time.Second, func() string {
		return post("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", `{"metadata":{"name":"other"},"spec":{"holderIdentity":"other"}}`)
	}))
	go func() {
		for s.ctx.Err() == nil {
			body := fmt.Sprintf(`{"spec":{"renewTime":%q}}`, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
			s.server.send(s.ctx, "PATCH", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/other", "application/merge-patch+json", body)
			time.Sleep(2 * time.Second)
		}
	}()
	must(within(30*time.Second, func() string { // the account is made by its controller
		if a := s.server.get(s.ctx, space+"/serviceaccounts/default"); a.status != 200 {
			return a.String()
		}
		return ""
	}))
}

// homestead is the station, its pods, and what was before.
type homestead struct {
	*station
	pods    []tenant
	witness *witness
	rules   string
	node0   map[string]string
	backs   []float64 // seconds until the last pod was back, a boot each
	readies []float64
}

// settles boots the node the first time, with the line up, and places its pods.
func (h *homestead) settles() bool {
	h.powerOn()
	if !h.check("the node becomes Ready", h.withWords(within(60*time.Second, h.untainted))) {
		return false
	}
	h.note("the node is Ready %.1f s after the boot", time.Since(h.booted).Seconds())
	began := time.Now()
	for _, t := range tenants {
		h.place(fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"labels":{"app":%[1]q}},"spec":{%s,%s}}`, t.name, always, t.spec))
	}
	h.writer.must(h.server.send(h.ctx, "POST", "/apis/apps/v1/namespaces/"+kubeletHome+"/deployments", "application/json", deployment))
	if !h.check("pods of every kind run", h.withWords(within(60*time.Second, func() string { return h.allRun(time.Time{}) }))) {
		return false
	}
	h.note("%d pods run after %.1f s", len(h.pods), time.Since(began).Seconds())
	h.check("every pod has what it was given", within(5*time.Second, func() string {
		took, why := h.node.back(h.pods, h.booted, 0)
		if len(took) == len(h.pods) {
			why = h.wrong(h.pods, h.booted)
		}
		return why
	}))
	for name := range addresses {
		h.check("the service "+name+" answers at its address", h.withWords(within(20*time.Second, func() string { return h.answers(name) })))
	}
	h.witness = h.witnessed(kubeletHome)
	var why string
	if h.rules, why = h.programmed(); why == "" && strings.Count(h.rules, "-j DNAT") < 3 {
		why = "expected three endpoints in\n" + h.rules
	}
	h.node0, _ = h.nodeObject(h.server)
	return h.check("kube-proxy has programmed the services", why)
}

// allRun reads the pods from the server: how many there should be, all ready, all started after a moment.
func (h *homestead) allRun(after time.Time) string {
	var list struct {
		Items []struct {
			Metadata struct {
				Name, UID   string
				Annotations map[string]string
			}
			Status struct {
				Phase             string
				ContainerStatuses []struct {
					Ready bool
					State struct{ Running struct{ StartedAt time.Time } }
				}
			}
		}
	}
	if why := h.ask("/api/v1/namespaces/"+kubeletHome+"/pods", &list); why != "" {
		return why
	}
	var complaints []string
	var pods []tenant
	for _, p := range list.Items {
		t := tenant{name: p.Metadata.Name, uid: p.Metadata.UID, given: "of a deployment"}
		local := t.uid
		if mirrors := p.Metadata.Annotations["kubernetes.io/config.hash"]; mirrors != "" {
			local, t.given = mirrors, "static"
		}
		for _, known := range tenants {
			if known.name == t.name {
				t.given = known.given
			}
		}
		t.folder = filepath.Join(h.dir, "disk/log/pods", kubeletHome+"_"+t.name+"_"+local)
		pods = append(pods, t)
		if p.Status.Phase != "Running" || len(p.Status.ContainerStatuses) != 1 || !p.Status.ContainerStatuses[0].Ready {
			complaints = append(complaints, fmt.Sprintf("pod %s is %s, %v", t.name, p.Status.Phase, p.Status.ContainerStatuses))
		} else if started := p.Status.ContainerStatuses[0].State.Running.StartedAt; started.Before(after.Truncate(time.Second)) {
			complaints = append(complaints, fmt.Sprintf("pod %s is still told to have started at %s", t.name, started))
		}
	}
	if want := len(tenants) + 3; len(pods) != want { // the Deployment's two, and the static one
		complaints = append(complaints, fmt.Sprintf("%d pods of %d", len(pods), want))
	}
	if h.pods != nil && !reflect.DeepEqual(pods, h.pods) {
		complaints = append(complaints, fmt.Sprintf("pods are %v, were %v", pods, h.pods))
	}
	if len(complaints) == 0 {
		h.pods = pods
	}
	return few(complaints)
}

// answers asks a service at its cluster address, as a program on the node does.
func (h *homestead) answers(name string) string {
	status, body, err := h.fetch("http://" + addresses[name])
	if err != nil || status != 200 || body != ports[name]+"\n" {
		return fmt.Sprintf("%d %q %v", status, body, err)
	}
	return ""
}

// nodeObject is the node as somebody tells it to a client that takes protobuf, without what changes by itself.
func (h *homestead) nodeObject(d *door) (map[string]string, string) {
	ctx, cancel := context.WithTimeout(h.ctx, 10*time.Second)
	defer cancel()
	node, err := d.proto.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return nil, err.Error()
	}
	node.Spec.Taints = nil
	parts := map[string]string{}
	for name, part := range map[string]any{"uid": node.UID, "labels": node.Labels, "annotations": node.Annotations, "spec": node.Spec,
		"addresses": node.Status.Addresses, "capacity": node.Status.Capacity, "allocatable": node.Status.Allocatable} {
		text, err := json.Marshal(part)
		if err != nil {
			return nil, err.Error()
		}
		parts[name] = string(text)
	}
	return parts, ""
}

// intact complains of what changed in the node object.
func (h *homestead) intact(d *door) string {
	now, why := h.nodeObject(d)
	for _, part := range slices.Sorted(maps.Keys(now)) {
		if now[part] != h.node0[part] {
			why += fmt.Sprintf("%s was %s, is %s\n", part, h.node0[part], now[part])
		}
	}
	return why
}
