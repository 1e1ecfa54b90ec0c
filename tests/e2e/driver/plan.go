// What is written for a node before it boots: the settings of containerd, of its network and of the kubelet, and its services.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

const nodeName = "node1"

// plan is how one node differs from another.
type plan struct {
	address  string            // the kubelet's
	base     string            // where the kubelet finds the API
	kubelet  string            // settings of the kubelet beside those of all
	network  string            // the script that brings the node's own network up; without one it has the run's
	services map[string]string // programs that run beside the kubelet, with their arguments
	files    map[string]string // what they read
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
nodeStatusUpdateFrequency: 5s
nodeStatusReportFrequency: 10s
`

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: agent, cluster: {server: "BASE"}}]
contexts: [{name: agent, context: {cluster: agent}}]
current-context: agent
`

// service is the script of a program that the node keeps running.
const service = "#!/bin/bash\nexec %s\n"

// write fills the node's folder.
func (p plan) write(dir string, keys pki) error {
	replace := strings.NewReplacer("FOLDER", dir, "PKI", keys.dir, "BASE", p.base)
	files := map[string]string{"containerd.toml": containerdConfig, "cni/10-e2e.conflist": networkConfig, "resolv.conf": "",
		"kubelet.yaml": kubeletConfig + p.kubelet, "kubeconfig": kubeconfig,
		"services/kubelet": fmt.Sprintf(service, "kubelet --config FOLDER/kubelet.yaml --kubeconfig FOLDER/kubeconfig --hostname-override "+
			nodeName+" --node-ip "+p.address)}
	for name, command := range p.services {
		files["services/"+name] = fmt.Sprintf(service, command)
	}
	if p.network != "" {
		files["network"] = p.network
	}
	maps.Copy(files, p.files)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(replace.Replace(text)), 0o600); err != nil {
			return err
		}
	}
	return makeImage("/bin/busybox", filepath.Join(dir, "images.tar"))
}
