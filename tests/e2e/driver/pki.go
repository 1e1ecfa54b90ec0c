// The run's own certificates: one authority, the API server, an administrator, the controllers, the agent, a node, and the
// service account key.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// agentUser is the name the agent's certificate gives it, and nodeUser that of a node: audit entries are found by them.
const (
	agentUser = "toono-edge1"
	nodeUser  = "system:node:" + nodeName
)

type pki struct{ dir string }

func (p pki) path(name string) string { return filepath.Join(p.dir, name) }

func makePKI(dir string) (pki, error) {
	p := pki{dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, fmt.Errorf("certificates: %w", err)
	}
	caKey, err := p.key("ca")
	if err != nil {
		return p, err
	}
	ca := template(pkix.Name{CommonName: "e2e-ca"})
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	if err := p.certificate("ca", ca, ca, caKey.Public(), caKey); err != nil {
		return p, err
	}
	server := template(pkix.Name{CommonName: "kube-apiserver"})
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1), net.ParseIP(uplinkAddress)}
	server.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	kubelet := template(pkix.Name{CommonName: nodeUser, Organization: []string{"system:nodes"}})
	kubelet.IPAddresses = []net.IP{net.ParseIP(nodeAddress), net.ParseIP(apartAddress)}
	masters := []string{"system:masters"}
	for _, leaf := range []struct {
		file string
		cert *x509.Certificate
	}{
		{"apiserver", server},
		{"kubelet", kubelet},
		{"admin", template(pkix.Name{CommonName: "e2e-admin", Organization: masters})},
		{"controllers", template(pkix.Name{CommonName: "system:kube-controller-manager"})},
		{"agent", template(pkix.Name{CommonName: agentUser, Organization: masters})},
	} {
		key, err := p.key(leaf.file)
		if err != nil {
			return p, err
		}
		if err := p.certificate(leaf.file, leaf.cert, ca, key.Public(), caKey); err != nil {
			return p, err
		}
	}
	account, err := p.key("account")
	if err != nil {
		return p, err
	}
	public, err := x509.MarshalPKIXPublicKey(account.Public())
	if err != nil {
		return p, fmt.Errorf("service account key: %w", err)
	}
	return p, p.write("account.pub", "PUBLIC KEY", public)
}

var serial int64

func template(name pkix.Name) *x509.Certificate {
	serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      name,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (p pki) key(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	return key, p.write(name+".key", "PRIVATE KEY", der)
}

func (p pki) certificate(name string, cert, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, public, signer)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", name, err)
	}
	return p.write(name+".crt", "CERTIFICATE", der)
}

func (p pki) write(name, kind string, der []byte) error {
	return os.WriteFile(p.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
