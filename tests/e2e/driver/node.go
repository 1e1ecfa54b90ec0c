// A node: a real kubelet and containerd in namespaces of their own, that know the agent's address and nothing of the server.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	nodeName    = "node1"
	nodeAddress = "10.200.0.11" // on the loopback interface of the network namespace that `run` makes
)

type node struct {
	dir, group string
	proc       *process
}

const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "` + image + `"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "FOLDER/cni"
`

const networkConfig = `{"cniVersion":"0.4.0","name":"e2e","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,
"ipam":{"type":"host-local","dataDir":"/run/cni-ipam","ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /
cgroupsPerQOS: true
enforceNodeAllocatable: ["none"]
failSwapOn: false
localStorageCapacityIsolation: false
oomScoreAdj: 0
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%", pid.available: "0%"}
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: PKI/kubelet.crt
tlsPrivateKeyFile: PKI/kubelet.key
resolvConf: FOLDER/resolv.conf
volumePluginDir: /var/lib/kubelet/volplugins
nodeLeaseDurationSeconds: 8
nodeStatusUpdateFrequency: 5s
nodeStatusReportFrequency: 10s
`

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: agent, cluster: {server: "BASE"}}]
contexts: [{name: agent, context: {cluster: agent}}]
current-context: agent
`

// startNode writes what a node needs and switches it on.
func startNode(dir, base string, keys pki) (*node, error) {
	n := &node{dir: dir, group: fmt.Sprintf("toono-e2e-%d", os.Getpid())}
	if err := os.MkdirAll(filepath.Join(dir, "cni"), 0o700); err != nil {
		return nil, err
	}
	replace := strings.NewReplacer("FOLDER", dir, "PKI", keys.dir, "BASE", base)
	for name, text := range map[string]string{"containerd.toml": containerdConfig, "cni/10-e2e.conflist": networkConfig,
		"kubelet.yaml": kubeletConfig, "kubeconfig": kubeconfig, "resolv.conf": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(replace.Replace(text)), 0o600); err != nil {
			return nil, err
		}
	}
	if err := makeImage("/bin/busybox", filepath.Join(dir, "images.tar")); err != nil {
		return nil, err
	}
	var err error
	n.proc, err = start("node", filepath.Join(dir, "node.log"), "bash", filepath.Join("node", "boot"), n.group, dir)
	if err == nil {
		atEnd = append(atEnd, n.off)
	}
	return n, err
}

// off is the power switch. What the groups of the node leave is taken away.
func (n *node) off() {
	n.proc.kill()
	for range 40 {
		left := 0
		all, _ := filepath.Glob("/sys/fs/cgroup/*/" + n.group)
		for _, root := range all {
			var groups []string
			_ = filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
				if err == nil && info.IsDir() {
					groups = append(groups, path)
				}
				return nil
			})
			for i := len(groups) - 1; i >= 0; i-- {
				if os.Remove(groups[i]) != nil {
					left++
				}
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// restartKubelet kills the kubelet; the node starts another, which speaks JSON instead of protobuf.
func (n *node) restartKubelet() string {
	settings, flag := filepath.Join(n.dir, "kubelet.yaml"), filepath.Join(n.dir, "restart")
	text, err := os.ReadFile(settings)
	if err == nil {
		err = os.WriteFile(settings, append(text, "contentType: application/json\n"...), 0o600)
	}
	if err != nil {
		return err.Error()
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		return err.Error()
	}
	return within(5*time.Second, func() string {
		if _, err := os.Stat(flag); err == nil {
			return "the kubelet was not killed"
		}
		return ""
	})
}

// end kills the first process of a container, which the node's groups tell.
func (n *node) end(container string) string {
	_, id, _ := strings.Cut(container, "://")
	all, _ := filepath.Glob("/sys/fs/cgroup/memory/" + n.group + "/kubepods/*/*/" + id + "/cgroup.procs")
	if id == "" || len(all) != 1 {
		return fmt.Sprintf("%d groups of container %q", len(all), container)
	}
	text, err := os.ReadFile(all[0])
	if err != nil {
		return err.Error()
	}
	var first int
	for _, word := range strings.Fields(string(text)) {
		pid, _ := strconv.Atoi(word)
		command, _ := os.ReadFile("/proc/" + word + "/cmdline")
		if strings.HasPrefix(string(command), "/bin/sh\x00") {
			first = pid
		}
	}
	if first == 0 {
		return "the container has no shell"
	}
	return whyNot(syscall.Kill(first, syscall.SIGKILL))
}

// lines counts what a pod's container has printed, from the node's own disk.
func (n *node) lines(namespace, name string) int {
	count := 0
	logs, _ := filepath.Glob(filepath.Join(n.dir, "disk/log/pods", namespace+"_"+name+"_*", "*", "*.log"))
	for _, path := range logs {
		text, _ := os.ReadFile(path)
		count += strings.Count(string(text), "\n")
	}
	return count
}

// lastWords is the end of the logs of a node that does not do what it should.
func (n *node) lastWords() string {
	var all []string
	for _, name := range []string{"node.log", "containerd.log", "kubelet.log"} {
		text, _ := os.ReadFile(filepath.Join(n.dir, name))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		all = append(all, name+": "+strings.Join(lines[max(0, len(lines)-4):], "\n"))
	}
	return strings.Join(all, "\n")
}
