// The tap: a proxy on the node between its components and the agent, that writes down what each asked and what it got. Of
// lists and watches it also writes down every object that was told.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/client-go/kubernetes/scheme"
	restwatch "k8s.io/client-go/rest/watch"
)

// heard is one line of the tap: the head of an answer, or what came in the answer of the same number.
type heard struct {
	At         time.Time
	N          int64
	Who        string `json:",omitempty"` // program that asked
	Method     string `json:",omitempty"`
	URI        string `json:",omitempty"`
	Status     int    `json:",omitempty"` // 0: the connection was cut instead
	Media      string `json:",omitempty"`
	RetryAfter string `json:",omitempty"`
	What       string `json:",omitempty"` // a watch event's type, `complete` at the end of the first state, or `error`
	Key, UID   string `json:",omitempty"`
	Items      int    `json:",omitempty"` // objects told until `complete`
	Phase      string `json:",omitempty"` // what a kubelet says that a pod has become
}

// tapLog is written a line at a time, so that it is whole after a power cut.
type tapLog struct {
	mu   sync.Mutex
	file *os.File
}

func (l *tapLog) write(h heard) {
	h.At = time.Now()
	line, err := json.Marshal(h)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.file.Write(append(line, '\n'))
}

// tapped is what is known of a request when its answer comes.
type tapped struct {
	n     int64
	phase string
}

type tappedKey struct{}

// tap listens and forwards until it is killed. An answer that breaks off breaks off for the client as well, and where there is no
// answer the connection is cut: the client is to see what it would see of the agent.
func tap(listen, target, path string) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintf(os.Stderr, "tap: %v\n", err)
		os.Exit(1)
	}
	out := &tapLog{file: file}
	to := &url.URL{Scheme: "http", Host: target}
	head := func(r *http.Request) heard {
		t, _ := r.Context().Value(tappedKey{}).(tapped)
		return heard{N: t.n, Phase: t.phase, Who: asker(r), Method: r.Method, URI: r.URL.RequestURI()}
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			h := head(r)
			h.Key = err.Error()
			out.write(h)
			panic(http.ErrAbortHandler)
		},
		ModifyResponse: func(r *http.Response) error {
			h := head(r.Request)
			h.Status, h.Media, h.RetryAfter = r.StatusCode, r.Header.Get("Content-Type"), r.Header.Get("Retry-After")
			out.write(h)
			if r.StatusCode == 200 && r.Request.Method == "GET" && isCollection(r.Request.URL.Path) {
				r.Body = listenTo(r, h.N, out)
			}
			return nil
		},
	}
	var count atomic.Int64
	server := &http.Server{Addr: listen, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := tapped{n: count.Add(1), phase: phase(r)}
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tappedKey{}, t)))
	})}
	fmt.Fprintf(os.Stderr, "tap: %v\n", server.ListenAndServe())
	os.Exit(1)
}

// collections are those that a kubelet and a kube-proxy list and watch.
var collections = []string{"pods", "nodes", "services", "configmaps", "secrets", "endpointslices", "csidrivers", "runtimeclasses", "servicecidrs"}

func isCollection(path string) bool {
	return slices.Contains(collections, path[strings.LastIndex(path, "/")+1:])
}

// asker is the program's name in the User-Agent.
func asker(r *http.Request) string {
	name, _, _ := strings.Cut(r.UserAgent(), "/")
	return name
}

// phase reads what a patch of a pod's status says of its phase.
func phase(r *http.Request) string {
	if r.Method != "PATCH" || !strings.Contains(r.URL.Path, "/pods/") {
		return ""
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "" // the client is gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var patch struct{ Status struct{ Phase string } }
	_ = json.Unmarshal(body, &patch)
	return patch.Status.Phase
}

// tee is a body that is also read elsewhere.
type tee struct {
	io.Reader
	body io.Closer
	copy *io.PipeWriter
}

func (t *tee) Close() error {
	t.copy.Close()
	return t.body.Close()
}

// listenTo has a list or a watch read along, in JSON or protobuf.
func listenTo(r *http.Response, n int64, out *tapLog) io.ReadCloser {
	from, to := io.Pipe()
	media, zipped := r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding") == "gzip"
	stream := r.Request.URL.Query().Get("watch") == "true"
	go func() {
		var body io.Reader = bufio.NewReader(from)
		var err error
		if zipped {
			body, err = gzip.NewReader(body)
		}
		if err == nil {
			err = understand(body, media, stream, func(h heard) { h.N = n; out.write(h) })
		}
		if err != nil && err != io.EOF {
			out.write(heard{N: n, What: "error", Key: err.Error()})
		}
		_, _ = io.Copy(io.Discard, from)
	}()
	return &tee{Reader: io.TeeReader(r.Body, to), body: r.Body, copy: to}
}

// understand tells what a list or a watch holds.
func understand(body io.Reader, media string, stream bool, tell func(heard)) error {
	objects := scheme.Codecs.UniversalDeserializer()
	if !stream {
		text, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		list, _, err := objects.Decode(text, nil, nil)
		if err != nil {
			return err
		}
		tell(heard{What: "complete", Items: meta.LenList(list)})
		return nil
	}
	kind, _, err := mime.ParseMediaType(media)
	if err != nil {
		return err
	}
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), kind)
	if !ok || info.StreamSerializer == nil {
		return fmt.Errorf("no stream of %q is known", media)
	}
	frames := info.StreamSerializer.Framer.NewFrameReader(io.NopCloser(body))
	events := restwatch.NewDecoder(streaming.NewDecoder(frames, info.StreamSerializer.Serializer), objects)
	for items := 0; ; items++ {
		what, object, err := events.Decode()
		if err != nil {
			return err
		}
		of, err := meta.Accessor(object)
		switch {
		case err != nil: // a Status
			tell(heard{What: string(what), Key: fmt.Sprintf("%+v", object)})
		case of.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true":
			tell(heard{What: "complete", Items: items})
		default:
			tell(heard{What: string(what), Key: of.GetNamespace() + "/" + of.GetName(), UID: string(of.GetUID())})
		}
	}
}
