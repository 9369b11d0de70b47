package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
	goyaml "go.yaml.in/yaml/v2"
	"sigs.k8s.io/yaml"
)

// serviceAccountNamespace is where a pod finds the namespace it is in.
const serviceAccountNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// given is a value as written, and where.
type given struct{ value, where string }

// load works out the configuration: a flag beats the environment, which beats
// the file, which beats the default. Everything that is wrong is in err, joined;
// nothing is touched. help says that the flags ask for help.
func load(args, environ []string) (c *config, help bool, err error) {
	opts := options()
	var errs []error
	flags, file, help, flagErrs := readFlags(opts, args)
	if help {
		return nil, true, nil
	}
	errs = append(errs, flagErrs...)
	env := environment(environ)
	if file == nil {
		if v, ok := env[envName(fileFlag)]; ok {
			file = &given{v, "environment variable " + envName(fileFlag)}
		}
	}
	var keys map[string][]given
	if file != nil {
		keys, err = readFile(opts, file.value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file.where, err))
		}
	}

	c = new(config)
	for _, o := range opts {
		values := split(o, byDefault(o, env), "default of --"+o.flag)
		if v, ok := keys[o.flag]; ok {
			values = v
		}
		if v, ok := env[envName(o.flag)]; ok {
			values = split(o, v, "environment variable "+envName(o.flag))
		}
		if v, ok := flags[o.flag]; ok {
			values = v
		}
		if !o.list {
			values = values[len(values)-1:]
		}
		for _, v := range values {
			if err := o.set(c, v.value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", v.where, err))
			}
		}
	}
	errs = append(errs, c.check())
	return c, false, errors.Join(errs...)
}

// split takes a list apart, as the environment and the defaults have it.
func split(o option, value, where string) []given {
	if !o.list {
		return []given{{value, where}}
	}
	var out []given
	for part := range strings.SplitSeq(value, ",") {
		out = append(out, given{strings.TrimSpace(part), where})
	}
	return out
}

// readFlags collects the flags as written. pflag ends at the first error, so what
// it refuses is taken out and the rest is tried again.
func readFlags(opts []option, args []string) (values map[string][]given, file *given, help bool, errs []error) {
	for {
		values, file = map[string][]given{}, nil
		fs := pflag.NewFlagSet("rebootd", pflag.ContinueOnError)
		fs.SortFlags = false
		fs.Usage = func() {}
		fs.SetOutput(io.Discard)
		fs.BoolVarP(&help, "help", "h", false, "")
		for _, o := range opts {
			fs.VarPF(collector{func(v string) {
				values[o.flag] = append(values[o.flag], given{v, "--" + o.flag})
			}}, o.flag, "", "").NoOptDefVal = o.bare
		}
		fs.Var(collector{func(v string) { file = &given{v, "--" + fileFlag} }}, fileFlag, "")
		err := fs.Parse(args)
		if err == nil {
			for _, a := range fs.Args() {
				errs = append(errs, fmt.Errorf("unexpected argument %q", a))
			}
			return values, file, help, errs
		}
		errs = append(errs, err)
		i := refused(err, args)
		if i < 0 {
			return values, file, help, errs
		}
		args = slices.Delete(slices.Clone(args), i, i+1)
	}
}

// refused finds the argument that pflag has just refused.
func refused(err error, args []string) int {
	var notExist *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var syntax *pflag.InvalidSyntaxError
	match := func(string) bool { return false }
	switch {
	case errors.As(err, &notExist):
		if shorts := notExist.GetSpecifiedShortnames(); shorts != "" {
			match = func(a string) bool { return strings.HasPrefix(a, "-"+shorts) || a == "-"+shorts }
		} else {
			name := "--" + notExist.GetSpecifiedName()
			match = func(a string) bool { return a == name || strings.HasPrefix(a, name+"=") }
		}
	case errors.As(err, &noValue):
		name := "--" + noValue.GetSpecifiedName()
		match = func(a string) bool { return a == name }
	case errors.As(err, &syntax):
		match = func(a string) bool { return a == syntax.GetSpecifiedFlag() }
	}
	return slices.IndexFunc(args, match)
}

// collector is a flag's value that takes anything: what it means is judged later,
// together with everything else.
type collector struct{ take func(string) }

func (c collector) Set(v string) error { c.take(v); return nil }
func (collector) String() string       { return "" }
func (collector) Type() string         { return "value" }

func environment(environ []string) map[string]string {
	out := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok {
			out[k] = v
		}
	}
	return out
}

// envName is the environment variable of a flag. Variables of other names are not
// looked at: Kubernetes itself sets REBOOTD_… for a Service of that name.
func envName(flag string) string {
	return "REBOOTD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// keyName is the file's key of a flag.
func keyName(flag string) string {
	parts := strings.Split(flag, "-")
	for i, p := range parts[1:] {
		parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
	}
	return strings.Join(parts, "")
}

// readFile reads the configuration file into values as they would be written on
// the command line.
func readFile(opts []option, path string) (map[string][]given, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := oneDocument(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// Strict: a key that is there twice is an error.
	data, err = yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("%s: not a mapping of keys to values: %w", path, err)
	}
	out := map[string][]given{}
	var errs []error
	for _, o := range opts {
		key := keyName(o.flag)
		v, ok := raw[key]
		if !ok {
			continue
		}
		delete(raw, key)
		where := fmt.Sprintf("%s: key %s", path, key)
		values, err := written(o, v)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
			continue
		}
		for _, s := range values {
			out[o.flag] = append(out[o.flag], given{s, where})
		}
	}
	var unknown []string
	for k := range raw {
		unknown = append(unknown, k)
	}
	slices.Sort(unknown)
	for _, k := range unknown {
		errs = append(errs, fmt.Errorf("%s: unknown key %s", path, k))
	}
	return out, errors.Join(errs...)
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
		for _, x := range l {
			s, ok := x.(string)
			if !ok {
				return nil, fmt.Errorf("%v is not a string", x)
			}
			out = append(out, s)
		}
		return out, nil
	}
	switch o.get(new(config)).(type) {
	case bool:
		if b, ok := v.(bool); ok {
			return []string{fmt.Sprint(b)}, nil
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

// byDefault is an option's default as it would be written on the command line.
func byDefault(o option, env map[string]string) string {
	switch o.flag {
	case "node-name":
		if v := env["NODE_NAME"]; v != "" {
			return v
		}
		name, _ := os.Hostname() // an empty name is refused
		return strings.ToLower(name)
	case "namespace":
		if v := env["POD_NAMESPACE"]; v != "" {
			return v
		}
		if data, err := os.ReadFile(serviceAccountNamespace); err == nil {
			return strings.TrimSpace(string(data))
		}
		return "rebootd"
	default:
		return o.def
	}
}

// write prints the configuration as a file that would lead to it.
func (c *config) write(w io.Writer) error {
	var buf bytes.Buffer
	for _, o := range options() {
		value := o.get(c)
		data, err := yaml.Marshal(map[string]any{keyName(o.flag): value})
		if strings.ContainsFunc(fmt.Sprint(value), func(c rune) bool { return !unicode.IsPrint(c) }) {
			data, err = escaped(keyName(o.flag), value), nil
		}
		if err != nil {
			return fmt.Errorf("print the configuration: %w", err)
		}
		buf.Write(data)
	}
	_, err := w.Write(buf.Bytes())
	return err
}

// escaped is a setting in YAML whose text has characters that must not reach a terminal:
// Go's escapes are YAML's, too.
func escaped(key string, value any) []byte {
	if all, ok := value.([]string); ok {
		out := key + ":\n"
		for _, v := range all {
			out += "- " + strconv.QuoteToASCII(v) + "\n"
		}
		return []byte(out)
	}
	return fmt.Appendf(nil, "%s: %+q\n", key, value)
}

// usage is what help prints.
func usage() string {
	var b strings.Builder
	b.WriteString(`rebootd reboots the node that it runs on, safely, when a reboot is requested.

Usage:
  rebootd [flags]                the daemon
  rebootd check-config [flags]   validate the configuration and print it
  rebootd logind-reboot [LEVEL [MESSAGE]]
                                 ask the host's logind to reboot, kexec or soft-reboot, as --reboot-method=logind does
  rebootd version
  rebootd help

Flags, each also an environment variable (--drain-timeout: REBOOTD_DRAIN_TIMEOUT)
and a key of the --config file (drainTimeout):
`)
	fmt.Fprintf(&b, "  --%s FILE\n        a YAML file with these settings\n", fileFlag)
	for _, o := range options() {
		fmt.Fprintf(&b, "  --%s\n        %s (%s)\n", o.flag, strings.ReplaceAll(o.usage, "`", ""), strings.ReplaceAll(defaultWords(o), "`", ""))
	}
	return b.String()
}

func defaultWords(o option) string {
	if o.about != "" {
		return o.about
	}
	return "`" + strings.ReplaceAll(o.def, ",", "`, `") + "`"
}
