package host

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
)

// Archive writes a container image of one program, at /NAME, which is also its
// entrypoint: what the project's Dockerfile makes, as `docker save` writes it.
func Archive(w io.Writer, image, program, name string) error {
	data, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("make the image %s: %w", image, err)
	}
	layer, err := tarOf(map[string][]byte{name: data}, 0o755)
	if err != nil {
		return fmt.Errorf("make the image %s: %w", image, err)
	}
	sum := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + name}, "User": "0"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]any{map[string]any{"Config": "config.json", "RepoTags": []string{image}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	archive, err := tarOf(map[string][]byte{"config.json": config, "layer.tar": layer, "manifest.json": manifest}, 0o644)
	if err != nil {
		return fmt.Errorf("make the image %s: %w", image, err)
	}
	_, err = w.Write(archive)
	return err
}

func tarOf(files map[string][]byte, mode int64) ([]byte, error) {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for name, data := range files {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := t.Write(data); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), t.Close()
}
