package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	goyaml "go.yaml.in/yaml/v2"
	"sigs.k8s.io/yaml"
)

// fileContent is what the configuration file says, as it would be written on the command
// line.
type fileContent struct {
	keys  map[string][]given // by flag
	pools []poolContent
}

// readFile reads the configuration file.
func readFile(opts []option, path string) (fileContent, error) {
	data, err := readBounded(path)
	if err != nil {
		return fileContent{}, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return fileContent{}, fmt.Errorf("%s: is empty, as a file is that is about to be written, or that a power cut has left; write {} for no settings", path)
	}
	if err := oneDocument(data); err != nil {
		return fileContent{}, fmt.Errorf("%s: %w", path, err)
	}
	// Strict: a key that is there twice is an error.
	data, err = yaml.YAMLToJSONStrict(data)
	if err != nil {
		return fileContent{}, fmt.Errorf("%s: %w", path, err)
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		return fileContent{}, fmt.Errorf("%s: not a mapping of keys to values: %w", path, err)
	}
	pools, errs := readPools(opts, raw, path)
	keys, more := readKeys(opts, raw, path)
	return fileContent{keys, pools}, errors.Join(append(errs, more...)...)
}

const (
	maxFile     = 1 << 20 // as a ConfigMap, https://kubernetes.io/docs/concepts/configuration/configmap/
	maxFileTime = 5 * time.Second
)

// readBounded reads a file, or a pipe, whatever its length and its writer.
func readBounded(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe without a writer would be waited for
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_ = f.SetReadDeadline(time.Now().Add(maxFileTime)) // what has no deadlines does not wait
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: is larger than 1 MiB", path)
	}
	return data, err
}

// readKeys reads a mapping of keys to values. at is where it stands.
func readKeys(opts []option, raw map[string]any, at string) (map[string][]given, []error) {
	out := map[string][]given{}
	var errs []error
	for _, o := range opts {
		key := keyName(o.flag)
		v, ok := raw[key]
		if !ok {
			continue
		}
		delete(raw, key)
		where := fmt.Sprintf("%s: key %s", at, key)
		values, err := written(o, v)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
			continue
		}
		for _, s := range values {
			out[o.flag] = append(out[o.flag], given{s, where})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(raw)) {
		errs = append(errs, fmt.Errorf("%s: unknown key %s", at, k))
	}
	return out, errs
}

// oneDocument is nil if a file has nothing after its first document, which is all that is
// read of it.
func oneDocument(data []byte) error {
	documents := goyaml.NewDecoder(bytes.NewReader(data))
	for n := 1; ; n++ {
		var content any
		err := documents.Decode(&content)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n > 1 && content != nil:
			return errors.New("more than one YAML document; only the first one would be used: put all settings into one")
		}
	}
}

// written is a value of the file as it would be written on the command line.
func written(o option, v any) ([]string, error) {
	if l, ok := v.([]any); ok && o.list {
		if len(l) == 0 {
			return nil, errors.New("must not be an empty list")
		}
		var out []string
		for i, x := range l {
			if err := nested(x, fmt.Sprintf("the entry %d", i+1), "entry"); err != nil {
				return nil, err
			}
			s, ok := x.(string)
			if !ok {
				return nil, fmt.Errorf("%v is not a string", x)
			}
			out = append(out, s)
		}
		return out, nil
	}
	if err := nested(v, "it", "value"); err != nil {
		return nil, err
	}
	switch o.get(new(config)).(type) {
	case bool:
		if b, ok := v.(bool); ok {
			return []string{fmt.Sprint(b)}, nil
		}
		if s, ok := v.(string); ok && o.orText {
			return []string{s}, nil
		}
		if s, ok := v.(string); ok && (s == "true" || s == "false") {
			return nil, fmt.Errorf("%q in quotes is text; write true or false without quotes", s)
		}
		return nil, fmt.Errorf("%v is neither true nor false", v)
	case int:
		if n, ok := v.(float64); ok {
			return []string{fmt.Sprint(n)}, nil
		}
		return nil, fmt.Errorf("%v is not a number", v)
	default:
		if s, ok := v.(string); ok {
			return []string{s}, nil
		}
		return nil, fmt.Errorf("%v is not a string (durations are written with a unit, such as \"30m\")", v)
	}
}

// nested refuses what YAML has read as a mapping, a list or nothing. The error does not have it: a
// header's value may be a password, and what is refused is told on the Node.
func nested(v any, what, whole string) error {
	switch v.(type) {
	case map[string]any:
		return fmt.Errorf("%s has a colon and a space and is not in quotes; YAML reads that as a mapping: write the whole %s in quotes", what, whole)
	case []any:
		return fmt.Errorf("%s is a list, and one value is expected", what)
	case nil:
		return fmt.Errorf("%s has no value; remove it to have the default", what)
	}
	return nil
}
