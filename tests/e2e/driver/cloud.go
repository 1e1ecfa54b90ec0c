// The cloud: etcd and kube-apiserver on loopback, in the run's own folder.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// home is the namespace most objects live in.
const home = "e2e"

type cloud struct {
	address   string // host:port of the API server
	keys      pki
	audit     *audit
	direct    *door // to the API server, past the agent and the relay
	etcd, api *process
	control   *process // the controllers, where there are any
}

// auditPolicy writes one line for each request of the agent, when it arrives.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted, ResponseComplete, Panic]
rules:
- level: Metadata
  users: [` + agentUser + ", " + nodeUser + `]
- level: None
`

// startCloud makes one: bare, without controllers, where pods need no account; or as a cluster is, with what nodes may do
// confined and the controllers running.
func startCloud(ctx context.Context, dir string, whole bool) (*cloud, error) {
	keys, err := makePKI(filepath.Join(dir, "pki"))
	if err != nil {
		return nil, err
	}
	c := &cloud{address: freeAddress(), keys: keys, audit: &audit{path: filepath.Join(dir, "audit.log")}}
	client, peer := "http://"+freeAddress(), "http://"+freeAddress()
	c.etcd, err = start("etcd", filepath.Join(dir, "etcd.log"), "etcd", "--name=e2e", "--data-dir="+filepath.Join(dir, "etcd"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client, "--listen-peer-urls="+peer,
		"--initial-advertise-peer-urls="+peer, "--initial-cluster=e2e="+peer, "--unsafe-no-fsync", "--log-level=warn")
	if err != nil {
		return nil, err
	}
	if err := c.etcd.listens(client[len("http://"):], 30*time.Second); err != nil {
		return nil, err
	}
	policy := filepath.Join(dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, fmt.Errorf("audit policy: %w", err)
	}
	_, port, _ := strings.Cut(c.address, ":")
	kind := []string{"--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"}
	if whole {
		kind = []string{"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"}
	}
	c.api, err = start("kube-apiserver", filepath.Join(dir, "apiserver.log"), "kube-apiserver", append(kind,
		"--etcd-servers="+client, "--bind-address=127.0.0.1", "--secure-port="+port, "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--client-ca-file="+keys.path("ca.crt"), "--tls-cert-file="+keys.path("apiserver.crt"), "--tls-private-key-file="+keys.path("apiserver.key"),
		"--kubelet-client-certificate="+keys.path("admin.crt"), "--kubelet-client-key="+keys.path("admin.key"),
		"--kubelet-certificate-authority="+keys.path("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-key-file="+keys.path("account.pub"), "--service-account-signing-key-file="+keys.path("account.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16",
		"--audit-policy-file="+policy, "--audit-log-path="+c.audit.path, "--profiling=false")...)
	if err != nil {
		return nil, err
	}
	if err := c.api.listens(c.address, 60*time.Second); err != nil {
		return nil, err
	}
	if c.direct, err = directDoor(c.address, keys); err != nil {
		return nil, err
	}
	if why := within(60*time.Second, func() string {
		if a := c.direct.get(ctx, "/readyz"); a.status != 200 {
			return fmt.Sprintf("kube-apiserver is not ready: %s", a)
		}
		return ""
	}); why != "" {
		return nil, fmt.Errorf("%s\n%s", why, c.api.lastWords())
	}
	if whole {
		return c, c.controllers(dir)
	}
	return c, c.furnish(ctx)
}

// controllers starts kube-controller-manager, with a node given up for lost after eight seconds.
func (c *cloud) controllers(dir string) error {
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"x","contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}],
"clusters":[{"name":"x","cluster":{"server":"https://%s","certificate-authority":%q}}],
"users":[{"name":"x","user":{"client-certificate":%q,"client-key":%q}}]}`,
		c.address, c.keys.path("ca.crt"), c.keys.path("controllers.crt"), c.keys.path("controllers.key"))
	path := filepath.Join(dir, "controllers.kubeconfig")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	var err error
	c.control, err = start("kube-controller-manager", filepath.Join(dir, "controllers.log"), "kube-controller-manager",
		"--kubeconfig="+path, "--authentication-kubeconfig="+path, "--authorization-kubeconfig="+path, "--use-service-account-credentials",
		"--service-account-private-key-file="+c.keys.path("account.key"), "--root-ca-file="+c.keys.path("ca.crt"), "--leader-elect=false",
		"--bind-address=127.0.0.1", "--node-monitor-period=1s", "--node-monitor-grace-period=8s", "--node-startup-grace-period=20s")
	return err
}

// end ends all of it.
func (c *cloud) end() {
	for _, p := range []*process{c.control, c.api, c.etcd} {
		if p != nil {
			p.kill()
		}
	}
}

// furnish makes the namespace and the custom resource.
func (c *cloud) furnish(ctx context.Context) error {
	if err := c.namespace(ctx, home); err != nil {
		return err
	}
	definition := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.toono.test"},
"spec":{"group":"toono.test","scope":"Namespaced","names":{"plural":"widgets","singular":"widget","kind":"Widget"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`
	if a := c.direct.send(ctx, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "application/json", definition); a.status != 201 {
		return fmt.Errorf("custom resource definition: %s", a)
	}
	if why := within(20*time.Second, func() string {
		if a := c.direct.get(ctx, "/apis/toono.test/v1/widgets"); a.status != 200 {
			return fmt.Sprintf("widgets are not served: %s", a)
		}
		return ""
	}); why != "" {
		return fmt.Errorf("%s", why)
	}
	return nil
}

func (c *cloud) namespace(ctx context.Context, name string) error {
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name)
	if a := c.direct.send(ctx, "POST", "/api/v1/namespaces", "application/json", body); a.status != 201 {
		return fmt.Errorf("namespace %s: %s", name, a)
	}
	return nil
}
