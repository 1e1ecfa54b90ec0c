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
}

// auditPolicy writes one line for each request of the agent, when it arrives.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted, ResponseComplete, Panic]
rules:
- level: Metadata
  users: [` + agentUser + `]
- level: None
`

func startCloud(ctx context.Context, dir string) (*cloud, error) {
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
	c.api, err = start("kube-apiserver", filepath.Join(dir, "apiserver.log"), "kube-apiserver",
		"--etcd-servers="+client, "--bind-address=127.0.0.1", "--secure-port="+port, "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--client-ca-file="+keys.path("ca.crt"), "--tls-cert-file="+keys.path("apiserver.crt"), "--tls-private-key-file="+keys.path("apiserver.key"),
		"--kubelet-client-certificate="+keys.path("admin.crt"), "--kubelet-client-key="+keys.path("admin.key"),
		"--kubelet-certificate-authority="+keys.path("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-key-file="+keys.path("account.pub"), "--service-account-signing-key-file="+keys.path("account.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
		"--audit-policy-file="+policy, "--audit-log-path="+c.audit.path, "--profiling=false")
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
	return c, c.furnish(ctx)
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
