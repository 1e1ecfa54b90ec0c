// A container image made here, for there is no registry: busybox alone, as an OCI layout in a tar file.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

const image = "registry.local/busybox:1"

// blob is one part of the image, which the others name by its digest.
type blob []byte

func (b blob) digest() string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// of describes a blob to those that name it.
func (b blob) of(media string) map[string]any {
	return map[string]any{"mediaType": media, "digest": b.digest(), "size": len(b)}
}

func jsonBlob(v any) blob {
	text, err := json.Marshal(v)
	if err != nil {
		stop("image: %v", err)
	}
	return text
}

// archive writes entries that can't fail in memory.
type archive struct {
	buffer bytes.Buffer
	*tar.Writer
}

func newArchive() *archive {
	a := &archive{}
	a.Writer = tar.NewWriter(&a.buffer)
	return a
}

func (a *archive) entry(header tar.Header, content []byte) {
	header.Size = int64(len(content))
	if err := a.WriteHeader(&header); err != nil {
		stop("image: %v", err)
	}
	if _, err := a.Write(content); err != nil {
		stop("image: %v", err)
	}
}

func (a *archive) bytes() blob {
	if err := a.Close(); err != nil {
		stop("image: %v", err)
	}
	return a.buffer.Bytes()
}

// makeImage writes the image to a file, from a busybox that needs no libraries.
func makeImage(busybox, path string) error {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	files := newArchive()
	for _, name := range []string{"bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"} {
		files.entry(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, nil)
	}
	files.entry(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, program)
	for _, name := range []string{"sh", "cat", "echo", "sleep", "env", "head", "httpd"} {
		files.entry(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}, nil)
	}
	files.entry(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	layer := files.bytes()

	const oci = "application/vnd.oci.image."
	config := jsonBlob(map[string]any{"os": "linux", "architecture": runtime.GOARCH,
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"/bin/sleep", "2000000000"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.digest()}}})
	manifest := jsonBlob(map[string]any{"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
		"config": config.of(oci + "config.v1+json"), "layers": []any{layer.of(oci + "layer.v1.tar")}})
	entry := manifest.of(oci + "manifest.v1+json")
	entry["annotations"] = map[string]any{"io.containerd.image.name": image, "org.opencontainers.image.ref.name": "1"}
	index := jsonBlob(map[string]any{"schemaVersion": 2, "manifests": []any{entry}})

	layout := newArchive()
	layout.entry(tar.Header{Typeflag: tar.TypeReg, Name: "oci-layout", Mode: 0o644}, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	layout.entry(tar.Header{Typeflag: tar.TypeReg, Name: "index.json", Mode: 0o644}, index)
	for _, b := range []blob{layer, config, manifest} {
		layout.entry(tar.Header{Typeflag: tar.TypeReg, Name: "blobs/sha256/" + b.digest()[len("sha256:"):], Mode: 0o644}, b)
	}
	return os.WriteFile(path, layout.bytes(), 0o600)
}
