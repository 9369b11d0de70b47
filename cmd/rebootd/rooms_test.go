package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "rebootd.dev/"

// room is what a package may import besides the harmless packages of the standard
// library. Tests may import what they like.
type room struct {
	// pure: same input, same output. No clock, no output, no goroutine, nothing that
	// waits.
	pure bool
	// std are packages of the standard library.
	std []string
	// rooms are packages of this module.
	rooms []string
	// others are modules, or the packages of one, with all that is below them.
	others []string
}

// rooms are the packages of this module. Who adds a package, or an import that its
// room does not have, decides here whether the room may know that.
var rooms = map[string]room{
	"daemon/api":       {pure: true},
	"daemon/cooldown":  {pure: true, rooms: []string{"daemon/api", "daemon/days", "daemon/gate"}},
	"daemon/days":      {pure: true},
	"daemon/printable": {std: []string{"unicode/utf16"}, pure: true},
	"daemon/gate":      {std: []string{"context"}, pure: true, rooms: []string{"daemon/api"}}, // for the signature of Run
	"daemon/others":    {pure: true, rooms: []string{"daemon/api", "daemon/gate", "daemon/printable"}, others: []string{"k8s.io/api/core/v1"}},
	"daemon/decide":    {pure: true, rooms: []string{"daemon/api", "daemon/gate", "daemon/printable", "daemon/days"}},

	"daemon/approval":   {pure: true, rooms: []string{"daemon/api", "daemon/gate", "daemon/printable"}},
	"daemon/conditions": {pure: true, rooms: []string{"daemon/api", "daemon/gate", "daemon/printable"}},

	"lock":                 {std: []string{"math/rand/v2"}, rooms: []string{"daemon/api"}, others: []string{"k8s.io/api/coordination/v1", "k8s.io/apimachinery"}},
	"lock/lease":           {std: []string{"math/rand/v2"}, rooms: []string{"daemon/api", "daemon/printable", "lock"}, others: []string{"k8s.io/api/coordination/v1", "k8s.io/apimachinery"}},
	"lock/locktest":        {std: []string{"math/rand/v2", "runtime", "testing", "testing/synctest"}, rooms: []string{"daemon/api", "lock"}, others: []string{"k8s.io/apimachinery"}},
	"lock/lease/leasetest": {std: []string{"net/http", "math/rand/v2", "testing", "testing/synctest"}, rooms: []string{"daemon/api", "lock", "lock/lease", "lock/locktest"}, others: []string{"k8s.io/api", "k8s.io/apimachinery"}},
	"lock/nodelease":       {rooms: []string{"daemon/api", "daemon/printable", "lock"}, others: []string{"k8s.io/api/coordination/v1", "k8s.io/api/core/v1", "k8s.io/apimachinery"}},
	"drain":                {std: []string{"math/rand/v2"}, rooms: []string{"daemon/api", "daemon/printable"}, others: []string{"k8s.io/api", "k8s.io/apimachinery"}},
	"reboot/process":       {std: []string{"os", "os/exec", "syscall"}, rooms: []string{"daemon/printable"}},
	"reboot": {
		std: []string{"io/fs", "net", "os", "os/exec", "path/filepath", "syscall"}, rooms: []string{"daemon/api", "daemon/printable", "reboot/process"},
		others: []string{"github.com/godbus/dbus/v5", "golang.org/x/sys/unix"},
	},

	"daemon/alerts": {
		std:    []string{"crypto/tls", "crypto/x509", "math/rand/v2", "net", "net/http", "net/netip", "net/url", "os"},
		rooms:  []string{"daemon/api", "daemon/gate", "daemon/printable"},
		others: []string{"golang.org/x/crypto/x509roots/fallback/bundle"},
	},
	"daemon/availability": {
		rooms:  []string{"daemon/api", "daemon/backoff", "daemon/decide", "daemon/gate", "lock"},
		others: []string{"github.com/rs/zerolog", "k8s.io/api/core/v1", "k8s.io/apimachinery"},
	},
	"daemon/backoff": {std: []string{"math/rand/v2"}, others: []string{"k8s.io/apimachinery"}},
	"daemon/hook": {
		std: []string{"os", "os/exec", "os/signal", "path/filepath", "runtime", "syscall"}, rooms: []string{"daemon/api", "reboot/process"},
		others: []string{"golang.org/x/sys/unix"},
	},
	"daemon/kube": {
		std: []string{"net/http", "net/url"}, rooms: []string{"daemon/api"},
		others: []string{"github.com/prometheus/client_golang/prometheus", "k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go"},
	},
	"daemon/pods": {rooms: []string{"daemon/api", "daemon/backoff", "daemon/gate", "daemon/printable"}, others: []string{"k8s.io/api/core/v1", "k8s.io/apimachinery"}},
	"daemon/policy": {
		rooms:  []string{"daemon/api", "daemon/backoff", "daemon/gate", "daemon/printable", "daemon/reply"},
		others: []string{"github.com/rs/zerolog"},
	},
	"daemon/reply": {others: []string{"k8s.io/apimachinery"}, std: []string{"net"}},
	"daemon/preflight": {
		rooms:  []string{"daemon/api", "daemon/backoff", "daemon/gate", "daemon/printable", "drain"},
		others: []string{"github.com/rs/zerolog"},
	},
	"daemon/possible": {rooms: []string{"daemon/api", "daemon/gate", "reboot"}},
	"daemon/sentinel": {std: []string{"io/fs", "os", "path/filepath", "syscall"}, rooms: []string{"daemon/api", "daemon/printable"}, others: []string{"github.com/fsnotify/fsnotify"}},

	"daemon/window":       {pure: true},
	"daemon/window/zones": {std: []string{"compress/gzip", "embed"}},
	"daemon/windows":      {rooms: []string{"daemon/api", "daemon/gate", "daemon/window"}},

	"daemon/sim": {
		std: []string{"math/rand/v2", "net", "net/http", "os/exec", "syscall"}, rooms: []string{"daemon/api", "daemon/hook", "daemon/sentinel", "drain", "lock", "lock/lease", "lock/lease/leasetest", "lock/nodelease", "reboot"},
		others: []string{"k8s.io/api", "k8s.io/apimachinery"},
	},
	"daemon": {
		std: []string{"crypto/rand", "math/rand/v2", "net", "net/http"},
		rooms: []string{
			"daemon/api", "daemon/backoff", "daemon/decide", "daemon/gate", "daemon/hook", "daemon/others", "daemon/printable", "daemon/reply", "daemon/sentinel",
			"drain", "lock", "lock/nodelease", "reboot",
		},
		others: []string{"github.com/prometheus/client_golang", "github.com/rs/zerolog", "k8s.io/api/core/v1", "k8s.io/apimachinery"},
	},
	"cmd/rebootd": {
		std: []string{"log/slog", "net", "net/http", "os", "os/signal", "path/filepath", "runtime/debug", "syscall"},
		rooms: []string{
			"daemon", "daemon/alerts", "daemon/api", "daemon/approval", "daemon/availability", "daemon/conditions", "daemon/cooldown", "daemon/days", "daemon/decide", "daemon/gate", "daemon/hook", "daemon/kube", "daemon/others", "daemon/pods", "daemon/policy", "daemon/possible", "daemon/preflight", "daemon/printable", "daemon/sentinel", "daemon/window", "daemon/window/zones", "daemon/windows", "drain", "lock", "lock/lease", "lock/nodelease", "reboot",
		},
		others: []string{
			"github.com/coreos/go-systemd/v22/daemon", "github.com/kballard/go-shellquote", "github.com/prometheus/client_golang",
			"github.com/rs/zerolog", "github.com/spf13/pflag", "go.yaml.in/yaml/v2", "k8s.io/apimachinery", "k8s.io/client-go", "k8s.io/klog/v2", "sigs.k8s.io/yaml",
		},
	},

	"cmd/kubectl-rebootd": {std: []string{"os"}, rooms: []string{"cmd/kubectl-rebootd/cli"}},
	"cmd/kubectl-rebootd/cli": {
		std:   []string{"os", "os/signal", "path/filepath", "runtime/debug", "syscall", "text/tabwriter"},
		rooms: []string{"cmd/kubectl-rebootd/client", "cmd/kubectl-rebootd/fleet", "cmd/kubectl-rebootd/live", "cmd/kubectl-rebootd/page", "cmd/kubectl-rebootd/roll", "daemon/api", "daemon/days", "daemon/decide", "daemon/others", "daemon/printable", "daemon/window/zones", "drain"},
		others: []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term", "k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go", "sigs.k8s.io/yaml",
		},
	},
	"cmd/kubectl-rebootd/client": {std: []string{"net/http"}, others: []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go"}},
	"cmd/kubectl-rebootd/live":   {rooms: []string{"cmd/kubectl-rebootd/fleet"}, others: []string{"k8s.io/api", "k8s.io/apimachinery"}},
	"cmd/kubectl-rebootd/fleet":  {pure: true, rooms: []string{"daemon/api", "daemon/decide", "daemon/printable", "daemon/window"}, others: []string{"k8s.io/api"}},
	"cmd/kubectl-rebootd/page":   {std: []string{"embed", "html"}, pure: true, rooms: []string{"cmd/kubectl-rebootd/roll", "daemon/api", "daemon/printable"}},
	"cmd/kubectl-rebootd/roll":   {pure: true, rooms: []string{"cmd/kubectl-rebootd/fleet", "daemon/api", "daemon/printable"}},
}

// harmless packages of the standard library compute and do nothing else; time and fmt
// are told apart by what is used of them.
var harmless = []string{
	"bytes", "cmp", "crypto/sha256", "encoding/base64", "encoding/binary", "encoding/hex", "encoding/json", "errors", "fmt", "hash/fnv", "iter",
	"maps", "math", "math/bits", "path", "reflect", "regexp", "slices", "sort", "strconv", "strings", "time", "unicode", "unicode/utf8",
}

// waiting packages are for whoever waits or runs beside others: all but the pure.
var waiting = []string{"bufio", "context", "io", "sync", "sync/atomic"}

// impure is what a pure room may not use of the packages that it may import.
var impure = map[string][]string{
	"time": {"After", "AfterFunc", "LoadLocation", "Local", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Unix", "UnixMicro", "UnixMilli", "Until"},
	"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

func TestRooms(t *testing.T) {
	for name, r := range rooms {
		for _, other := range r.rooms {
			if o, listed := rooms[other]; !listed {
				t.Errorf("%s may import %s, which is not listed", name, other)
			} else if r.pure && !o.pure {
				t.Errorf("%s is pure and may import %s, which is not", name, other)
			}
		}
	}
	sources(t, func(file string, src []byte) {
		dir := path.Dir(file)
		if strings.HasPrefix(dir, "test/") { // a module of its own
			return
		}
		r, listed := rooms[dir]
		if !listed {
			t.Errorf("%s: the package %s is not listed in cmd/rebootd/rooms_test.go: list what it may import", file, dir)
			return
		}
		for _, bad := range r.check(t, file, src) {
			t.Error(bad)
		}
	})
}

// check says what a file uses that its room may not.
func (r room) check(t *testing.T, file string, src []byte) (bad []string) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	complain := func(at token.Pos, format string, args ...any) {
		bad = append(bad, fmt.Sprintf("%s: %s", set.Position(at), fmt.Sprintf(format, args...)))
	}
	named := map[string]string{} // packages of which not everything may be used, by their name here
	for _, i := range f.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !r.may(imported) {
			complain(i.Pos(), "may not import %s (cmd/rebootd/rooms_test.go lists what this package may)", imported)
		}
		if _, partly := impure[imported]; !r.pure || !partly {
			continue
		}
		name := path.Base(imported)
		if i.Name != nil {
			name = i.Name.Name
		}
		if name == "." {
			complain(i.Pos(), "a pure package may not import %s by the name \".\"", imported)
		}
		named[name] = imported
	}
	if r.pure {
		keepsNothing(f, complain)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			// What has an object is a variable that has the package's name.
			if x, ok := s.X.(*ast.Ident); ok && x.Obj == nil && slices.Contains(impure[named[x.Name]], s.Sel.Name) {
				complain(s.Pos(), "a pure package may not use %s.%s", named[x.Name], s.Sel.Name)
			}
		}
		return true
	})
	return bad
}

// keepsNothing finds what a package without state, output and other goroutines has not.
func keepsNothing(f *ast.File, complain func(token.Pos, string, ...any)) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				if name.IsExported() && !strings.HasPrefix(name.Name, "Err") { // anybody could put a clock into it
					complain(name.Pos(), "a pure package may not have an exported variable: %s", name.Name)
				}
			}
		}
	}
	// What has no object is declared in another file.
	changes := func(e ast.Expr) {
		for {
			switch x := e.(type) {
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.Ident:
				if x.Name != "_" && (x.Obj == nil || f.Scope.Lookup(x.Name) == x.Obj) {
					complain(x.Pos(), "a pure package may not change a variable of the package: %s", x.Name)
				}
				return
			default:
				return
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			complain(n.Pos(), "a pure package may not start a goroutine")
		case *ast.SelectStmt, *ast.SendStmt:
			complain(n.Pos(), "a pure package may not wait for others")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				complain(n.Pos(), "a pure package may not wait for others")
			}
		case *ast.CallExpr:
			if name, ok := n.Fun.(*ast.Ident); ok && name.Obj == nil && (name.Name == "print" || name.Name == "println") {
				complain(n.Pos(), "a pure package may not use %s", name.Name)
			}
		case *ast.IncDecStmt:
			changes(n.X)
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					changes(e)
				}
			}
		}
		return true
	})
}

// may says whether the room may import a package.
func (r room) may(imported string) bool {
	if name, ours := strings.CutPrefix(imported, module); ours {
		return slices.Contains(r.rooms, name)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return slices.Contains(harmless, imported) || !r.pure && slices.Contains(waiting, imported) || slices.Contains(r.std, imported)
	}
	return slices.ContainsFunc(r.others, func(o string) bool { return imported == o || strings.HasPrefix(imported, o+"/") })
}

// The guard sees what it is for.
func TestRoomsAreGuarded(t *testing.T) {
	pure := room{pure: true, rooms: []string{"daemon/api"}}
	wide := room{std: []string{"os"}, others: []string{"k8s.io/api/core"}}
	for _, tt := range []struct {
		room room
		src  string
		want string // "" if the room may
	}{
		{pure, `import "rebootd.dev/daemon/api"; import "strings"`, ""},
		{pure, `import "rebootd.dev/daemon"`, "may not import rebootd.dev/daemon"},
		{pure, `import "rebootd.dev/daemon/api/more"`, "may not import rebootd.dev/daemon/api/more"},
		{pure, `import "os"`, "may not import os"},
		{pure, `import _ "net/http"`, "may not import net/http"},
		{pure, `import "os/exec"`, "may not import os/exec"},
		{pure, `import "syscall"`, "may not import syscall"},
		{pure, `import "math/rand/v2"`, "may not import math/rand/v2"},
		{pure, `import "context"`, "may not import context"},
		{pure, `import "sync"`, "may not import sync"},
		{pure, `import "unsafe"`, "may not import unsafe"},
		{pure, `import "C"`, "may not import C"},
		{pure, `import "k8s.io/api/core/v1"`, "may not import k8s.io/api/core/v1"},
		{wide, `import "k8s.io/api/core/v1"; import "os"; import "context"`, ""},
		{wide, `import "k8s.io/api/corev2"`, "may not import k8s.io/api/corev2"},
		{wide, `import "os/exec"`, "may not import os/exec"},
		{wide, `import "time"; var x = time.Now()`, ""},
		{pure, `import "time"; func x(t time.Time) bool { return t.Add(time.Second).Before(t) }`, ""},
		{pure, `import "time"; var x = time.Now()`, "may not use time.Now"},
		{pure, `import "time"; var x = time.Now`, "may not use time.Now"},
		{pure, `import clock "time"; var x = clock.Now()`, "may not use time.Now"},
		{pure, `import "time"; func x(t time.Time) time.Duration { return time.Since(t) }`, "may not use time.Since"},
		{pure, `import "time"; var x = time.After(1)`, "may not use time.After"},
		{pure, `import . "time"; var x = Now()`, `by the name "."`},
		{pure, `import "fmt"; func x() { fmt.Println() }`, "may not use fmt.Println"},
		{pure, `func x() { go x() }`, "may not start a goroutine"},
		{pure, `func x() { println() }`, "may not use println"},
		{pure, `func x(c chan int) int { return <-c }`, "may not wait"},
		{pure, `func x() { select {} }`, "may not wait"},
		{pure, `func x(c chan int) { c <- 1 }`, "may not wait"},
		{pure, `import "time"; var x = time.Unix(1, 0)`, "may not use time.Unix"},
		{pure, `var n int; func x() { n++ }`, "may not change a variable of the package"},
		{pure, `var m = map[int]int{}; func x() { m[1] = 2 }`, "may not change a variable of the package"},
		{pure, `func x() { inAnotherFile = 2 }`, "may not change a variable of the package"},
		{pure, `import "time"; var Now func() time.Time`, "may not have an exported variable"},
		{pure, `import "errors"; var ErrX = errors.New("x")`, ""},
		{pure, `func x(m map[int]int) (n int) { n++; m[1] = n; for n = range 3 { _ = n }; return n }`, ""},
		{wide, `func x() { go x() }`, ""},
		{pure, `import "time"; var _ time.Time; type clock struct{ Now int }; func x(time clock) int { return time.Now }`, ""},
	} {
		bad := tt.room.check(t, "x.go", []byte("package x; "+tt.src))
		if tt.want == "" && len(bad) > 0 || tt.want != "" && (len(bad) != 1 || !strings.Contains(bad[0], tt.want)) {
			t.Errorf("%s: %q, want %q", tt.src, bad, tt.want)
		}
	}
}

// Files are short, so that one can be read as a whole. Tests, which are read in parts,
// may be longer.
func TestFilesAreShort(t *testing.T) {
	const most = 400
	sources(t, func(file string, src []byte) {
		if n := bytes.Count(src, []byte("\n")); n > most {
			t.Errorf("%s has %d lines: divide it, %d are the most", file, n, most)
		}
	})
}

// sources are the files of Go that are not tests, of this module and of test's.
func sources(t *testing.T, each func(file string, src []byte)) {
	t.Helper()
	const root = "../.."
	found := map[string][]byte{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, file)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		found[filepath.ToSlash(name)], err = os.ReadFile(file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 50 {
		t.Fatalf("found only %d files", len(found))
	}
	for _, file := range slices.Sorted(maps.Keys(found)) {
		each(file, found[file])
	}
}

// The README's table has every package that has a job.
func TestREADMENamesThePackages(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range rooms {
		if !strings.Contains(string(readme), "\n| `"+name+"` |") {
			t.Errorf("the README's table of packages lacks %s", name)
		}
	}
}
