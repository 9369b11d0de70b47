package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
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
	env := environment(environ)
	flags, file, help, flagErrs := readFlags(opts, args)
	if help {
		return nil, true, nil
	}
	errs = append(errs, flagErrs...)
	if file == nil {
		file = fileOf(env)
	}
	var in fileContent
	if file != nil {
		in, err = readFile(opts, file.value)
		if err != nil {
			for _, e := range flatten(err) {
				errs = append(errs, fmt.Errorf("%s: %w", file.where, e))
			}
		}
	}
	l := layers{opts: opts, env: env, flags: flags}
	c, topErrs := l.settings(in.keys, nil)
	errs = append(errs, topErrs...)
	pools, poolErrs := l.pools(in, topErrs)
	c.pools = pools
	errs = append(errs, poolErrs...)
	if len(errs) == 0 {
		errs = append(errs, sharedLocks(c))
	}
	return c, false, errors.Join(errs...)
}

// fileOf is the file that the environment names, nil if it names none.
func fileOf(env map[string]string) *given {
	v, ok := env[envName(fileFlag)]
	if !ok {
		return nil
	}
	return &given{v, "environment variable " + envName(fileFlag)}
}

// configFile is the path of the configuration file, "" if there is none.
func configFile(args, environ []string) string {
	_, file, _, _ := readFlags(options(), args)
	if file == nil {
		file = fileOf(environment(environ))
	}
	if file == nil {
		return ""
	}
	return file.value
}

// layers are where a setting may be given, but the file.
type layers struct {
	opts  []option
	env   map[string]string
	flags map[string][]given
}

// settings are the effective ones by the file's keys, which those of a pool override.
func (l layers) settings(file, pool map[string][]given) (*config, []error) {
	c := new(config)
	var errs []error
	for _, o := range l.opts {
		var values []given
		if v := byDefault(o, l.env); v != "" || !o.list {
			values = split(o, v, "default of --"+o.flag)
		}
		if v, ok := file[o.flag]; ok {
			values = v
		}
		if v, ok := pool[o.flag]; ok {
			values = v
		}
		if v, ok := l.env[envName(o.flag)]; ok {
			values = split(o, v, "environment variable "+envName(o.flag))
		}
		if v, ok := l.flags[o.flag]; ok {
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
	if err := c.check(); err != nil {
		errs = append(errs, flatten(err)...)
	}
	return c, errs
}

// split takes a list apart, as the environment and the defaults have it.
func split(o option, value, where string) []given {
	if !o.list {
		return []given{{value, where}}
	}
	var out []given
	for part := range strings.SplitSeq(value, cmp.Or(o.separator, ",")) {
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
		if all, ok := value.([]string); ok && len(all) == 0 {
			continue // nothing, as by default: a list that is given must not be empty
		}
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
  rebootd check-config [flags]   validate the configuration and print it, with the pool of the node, of which
                                 --node-labels=KEY=VALUE,… says the labels where it cannot be asked
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
	return "`" + strings.ReplaceAll(o.def, cmp.Or(o.separator, ","), "`, `") + "`"
}
