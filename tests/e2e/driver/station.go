// A node that stands apart: its own network, joined to the run's by a cable, its own agent, kube-proxy and tap; with a whole
// cloud behind the line.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	uplinkAddress = "10.201.0.1" // where the run's network is reached from the node: the line is there
	apartAddress  = "10.201.0.11"
	agentAddress  = "127.0.0.1:10261" // in the node's network
	tapAddress    = "127.0.0.1:10270"
	unplug        = mode("unplug") // the cable's far end is down: no packet arrives, and none says so
)

const networkScript = `until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip link set lo up
ip address add ` + apartAddress + `/24 dev eth0
ip link set eth0 up
ip route add default via ` + uplinkAddress + `
echo 1 >/proc/sys/net/ipv4/ip_forward
`

const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: FOLDER/kubeconfig}
hostnameOverride: ` + nodeName + `
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`

// station is the node, its cable, and what is asked of it.
type station struct {
	*farm
	cable   string // its end here
	cables  int
	cutAs   mode
	cutFrom time.Time // since when: the cut or the last boot
	program string    // the agent's name among processes
	booted  time.Time // last
	door    *door     // to the agent, in the node's network
}

// tool runs a program of the system to its end.
func tool(program string, args ...string) (string, error) {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// newStation writes what the node needs. The line must be there.
func newStation(s *scene, dir, program string) *station {
	own, err := os.Executable()
	if err != nil {
		stop("%v", err)
	}
	n, err := makeNode(dir, plan{
		address: apartAddress, base: "http://" + tapAddress, network: networkScript,
		kubelet: "nodeLeaseDurationSeconds: 4\nreadOnlyPort: 10255\nstaticPodPath: FOLDER/manifests\n",
		services: map[string]string{
			"agent": program + " agent --server https://" + s.line.address + " --ca PKI/ca.crt --cert PKI/kubelet.crt --key PKI/kubelet.key" +
				" --node-name " + nodeName + " --listen " + agentAddress + " --admin-listen 127.0.0.1:10267 --state-dir FOLDER/disk/toono",
			"tap":        own + " tap " + tapAddress + " " + agentAddress + " FOLDER/heard.log",
			"kube-proxy": "kube-proxy --config FOLDER/kube-proxy.yaml",
		},
		files: map[string]string{"kube-proxy.yaml": proxyConfig, "manifests/static.json": staticPod},
	}, s.cloud.keys)
	if err != nil {
		stop("node: %v", err)
	}
	t := &station{farm: &farm{s, n}, cutAs: pass, program: filepath.Base(program)}
	t.program = t.program[:min(15, len(t.program))]
	t.door = &door{name: "agent", base: "http://" + agentAddress, http: &http.Client{Transport: &http.Transport{DialContext: n.dial}}}
	config := &rest.Config{Host: t.door.base}
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	if t.door.proto, err = kubernetes.NewForConfigAndClient(config, t.door.http); err != nil {
		stop("%v", err)
	}
	t.emptied()
	return t
}

// emptied takes away all that the agent keeps.
func (t *station) emptied() {
	state := filepath.Join(t.dir, "disk/toono")
	if err := os.RemoveAll(state); err != nil {
		stop("%v", err)
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		stop("%v", err)
	}
}

// powerOn boots the node and plugs its cable in.
func (t *station) powerOn() {
	t.door.forget()
	t.booted = time.Now()
	t.cutFrom = t.booted
	err := t.node.boot()
	t.cables++
	t.cable = fmt.Sprintf("cable%d", t.cables)
	if err == nil {
		_, err = tool("ip", "link", "add", t.cable, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(t.node.init))
	}
	if err == nil {
		_, err = tool("ip", "link", "set", t.cable, "master", "uplink")
	}
	if err == nil && t.cutAs != unplug {
		_, err = tool("ip", "link", "set", t.cable, "up")
	}
	if err != nil {
		stop("%v", err)
	}
}

// powerOff is the power cut.
func (t *station) powerOff() {
	t.node.off()
	_, _ = tool("ip", "link", "delete", t.cable) // it may be gone with the node's network
}

// cut cuts the line, or restores it.
func (t *station) cut(how mode) {
	was := t.cutAs
	t.cutAs, t.cutFrom = how, time.Now()
	if how == unplug || was == unplug {
		way := "up"
		if how == unplug {
			way = "down"
		}
		if t.node.proc.alive() {
			if _, err := tool("ip", "link", "set", t.cable, way); err != nil {
				stop("%v", err)
			}
		}
	}
	if how != unplug {
		t.line.set(how)
	}
}

// untainted: in the server's view the node is Ready, and free of the taints of one that is not.
func (t *station) untainted() string {
	c, taints, why := t.state()
	if why == "" && (c.Status != "True" || len(taints) > 0) {
		why = fmt.Sprintf("condition %v, taints %v", c, taints)
	}
	return why
}

// lost: the server has given the node up.
func (t *station) lost() string {
	c, taints, why := t.state()
	if why == "" && (c.Status != "Unknown" || len(taints) == 0) {
		why = fmt.Sprintf("condition %v, taints %v", c, taints)
	}
	return why
}

func (t *station) state() (c condition, taints []string, why string) {
	var node struct {
		Spec struct {
			Taints []struct{ Key, Effect string }
		}
	}
	if why = t.ask("/api/v1/nodes/"+nodeName, &node); why != "" {
		return c, nil, why
	}
	for _, taint := range node.Spec.Taints {
		taints = append(taints, taint.Key+":"+taint.Effect)
	}
	c, why = t.condition()
	return c, taints, why
}

// fetch is an HTTP request from within the node's network; a new connection each time, as a service's chain picks anew.
func (t *station) fetch(url string) (int, string, error) {
	ctx, cancel := context.WithTimeout(t.ctx, 3*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DialContext: t.node.dial, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}
