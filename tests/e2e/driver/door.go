// A way to the API: straight to the server over TLS, or through the agent over plain HTTP.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// door holds the clients of one way: raw HTTP, JSON of any kind, metadata only, and typed protobuf as the kubelet speaks it.
type door struct {
	name, base string
	http       *http.Client
	json       dynamic.Interface
	meta       metadata.Interface
	proto      kubernetes.Interface
}

func plainDoor(name, address string) (*door, error) {
	return newDoor(name, "http://"+address, nil, rest.TLSClientConfig{})
}

func directDoor(address string, keys pki) (*door, error) {
	ca, err := os.ReadFile(keys.path("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(keys.path("admin.crt"), keys.path("admin.key"))
	if err != nil {
		return nil, err
	}
	return newDoor("server", "https://"+address, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
		rest.TLSClientConfig{CAFile: keys.path("ca.crt"), CertFile: keys.path("admin.crt"), KeyFile: keys.path("admin.key")})
}

func newDoor(name, base string, raw *tls.Config, files rest.TLSClientConfig) (*door, error) {
	config := &rest.Config{Host: base, TLSClientConfig: files, QPS: -1, UserAgent: "e2e/" + name}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", name, err)
	}
	only, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("metadata client of %s: %w", name, err)
	}
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("protobuf client of %s: %w", name, err)
	}
	transport := &http.Transport{TLSClientConfig: raw, MaxIdleConnsPerHost: 32}
	return &door{name: name, base: base, http: &http.Client{Transport: transport}, json: dyn, meta: only, proto: typed}, nil
}

// forget closes the connections nobody uses, so that the next request finds out where it stands by itself.
func (d *door) forget() { d.http.CloseIdleConnections() }

// answer is a whole HTTP answer, or why there was none.
type answer struct {
	asked  string
	status int
	media  string
	body   []byte
	err    error
	took   time.Duration
}

func (a answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("%s: %v after %s", a.asked, a.err, a.took.Round(time.Millisecond))
	}
	body := a.body
	if len(body) > 300 {
		body = body[:300]
	}
	return fmt.Sprintf("%s: %d %s after %s: %s", a.asked, a.status, a.media, a.took.Round(time.Millisecond), strings.TrimSpace(string(body)))
}

func (d *door) get(ctx context.Context, target string) answer {
	return d.send(ctx, "GET", target, "", "")
}

// send makes one request. A list that takes longer than 30 s counts as hanging.
func (d *door) send(ctx context.Context, method, target, media, body string) (a answer) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	a.asked = method + " " + target
	defer func() { a.took = time.Since(began) }()
	request, err := http.NewRequestWithContext(ctx, method, d.base+target, strings.NewReader(body))
	if err != nil {
		a.err = err
		return a
	}
	request.Header.Set("Accept", "application/json")
	if media != "" {
		request.Header.Set("Content-Type", media)
	}
	response, err := d.http.Do(request)
	if err != nil {
		a.err = err
		return a
	}
	defer response.Body.Close()
	a.status, a.media = response.StatusCode, response.Header.Get("Content-Type")
	if a.body, err = io.ReadAll(response.Body); err != nil {
		a.err = fmt.Errorf("status %d, then the body broke off after %d bytes: %w", a.status, len(a.body), err)
	}
	return a
}

// isStatus complains unless the answer is a Kubernetes Status of this code, in JSON.
func (a answer) isStatus(code int) string {
	var status struct {
		Kind, Status, Message string
		Code                  int
	}
	if a.err != nil || a.status != code {
		return fmt.Sprintf("%s (expected %d)", a, code)
	}
	if !strings.HasPrefix(a.media, "application/json") {
		return fmt.Sprintf("%s (expected application/json)", a)
	}
	if err := json.Unmarshal(a.body, &status); err != nil {
		return fmt.Sprintf("%s (%v)", a, err)
	}
	if status.Kind != "Status" || status.Code != code || status.Status != "Failure" || status.Message == "" {
		return fmt.Sprintf("%s (expected a Status with status Failure, code %d and a message)", a, code)
	}
	return ""
}
