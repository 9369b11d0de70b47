package daemon_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What runs beside the loop cannot touch what the loop owns: it is a method of a value
// that does not lead there. The rule is checked on the types of the source:
//
//   - goroutines are started by start, startWithin, do and Run, and by nothing else, timers
//     included; the first three are called by their names;
//   - what they are given to run is a method value, neither a function literal
//     nor a method of one that the loop owns, nor a pointer to one;
//   - no field of its receiver leads to such a one, by an interface neither; nothing puts a
//     function into a field of it that does, or a pointer to what such a one keeps;
//   - no variable of the package leads to one.
func TestWhatRunsBesideTheLoopCannotTouchIt(t *testing.T) {
	s := readSource(t)
	if n := s.check(); n < 15 {
		t.Errorf("only %d pieces of work were found", n)
	}
}

// The rule finds what it is for.
func TestTheRuleOfTheBackground(t *testing.T) {
	for name, code := range map[string]string{
		"a literal": `func (w *slotWorker) bad() { start(w.bg, func(context.Context, func(int)) int { return 0 }, nil, nil) }`,
		"a method of a worker": `func (w *slotWorker) work(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { start(w.bg, w.work, nil, nil) }`,
		"one that leads to a worker": `type job struct{ w *slotWorker }
			func (j job) run(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { start(w.bg, job{w}.run, nil, nil) }`,
		"one that leads there through others": `type inner struct { all []*slotWorker }
			type job struct{ in map[string]inner }
			func (j job) run(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { start(w.bg, job{}.run, nil, nil) }`,
		"a function in a field": `type job struct{ f func() }
			func (j job) run(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { start(w.bg, job{func() { w.name = "" }}.run, nil, nil) }`,
		"a worker's method in a field": `type job struct{ f func() }
			func (j job) run(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { start(w.bg, job{f: w.released}.run, nil, nil) }`,
		"a goroutine":            `func (w *slotWorker) bad() { go w.released() }`,
		"a goroutine of a group": `func (w *slotWorker) bad() { w.bg.wg.Go(w.released) }`,
		"one that leads there through an interface": `type job struct{ w worker }
			func (j job) run(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { start(w.bg, job{w}.run, nil, nil) }`,
		"one that may lead anywhere": `type job struct{ w any }
			func (j job) run(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { start(w.bg, job{w}.run, nil, nil) }`,
		"a function in a field, by a variable": `type job struct{ f func() }
			func (j job) run(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { f := func() { w.name = "" }; start(w.bg, job{f}.run, nil, nil) }`,
		"a function that is put into a field later": `type job struct{ f func() }
			func (j job) run(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { var j job; j.f = w.released; start(w.bg, j.run, nil, nil) }`,
		"a pointer to a worker's field": `type job struct{ name *string }
			func (j job) run(context.Context, func(int)) int { return 0 }
			func (w *slotWorker) bad() { start(w.bg, job{&w.name}.run, nil, nil) }`,
		"with its types given":              `func (w *slotWorker) bad() { start[int, int](w.bg, func(context.Context, func(int)) int { return 0 }, nil, nil) }`,
		"start by another name":             `func (w *slotWorker) bad() { s := start[int, int]; s(w.bg, func(context.Context, func(int)) int { return 0 }, nil, nil) }`,
		"a timer's goroutine":               `func (w *slotWorker) bad() { time.AfterFunc(1, w.released) }`,
		"a goroutine outside of a function": `var bad = func(w *slotWorker) { go w.released() }`,
		"a worker that all can reach":       `var last *slotWorker`,
		"by a variable":                     `func (w *slotWorker) bad() { work := func(context.Context, func(int)) int { return 0 }; start(w.bg, work, nil, nil) }`,
	} {
		t.Run(name, func(t *testing.T) {
			var broken []string
			s := readSource(t, "package daemon\nimport \"context\"\nimport \"time\"\n"+code)
			s.fail = func(at token.Pos, text string) { broken = append(broken, text) }
			s.check()
			if len(broken) == 0 {
				t.Error("not found")
			}
		})
	}
}

type source struct {
	fset  *token.FileSet
	files []*ast.File
	info  types.Info
	pkg   *types.Package
	fail  func(at token.Pos, text string)
}

// readSource reads the package, and more if it is given. What other packages have is not
// known of, and does not matter.
func readSource(t *testing.T, more ...string) *source {
	s := &source{fset: token.NewFileSet(), info: types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}, Uses: map[*ast.Ident]types.Object{},
	}}
	s.fail = func(at token.Pos, text string) { t.Errorf("%s: %s", s.fset.Position(at), text) }
	parse := func(name string, code any) {
		f, err := parser.ParseFile(s.fset, name, code, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, f)
	}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			parse(name, nil)
		}
	}
	for _, code := range more {
		parse("more.go", code)
	}
	conf := types.Config{Importer: nothing{}, Error: func(error) {}}
	s.pkg, _ = conf.Check("rebootd.dev/daemon", s.fset, s.files, &s.info)
	return s
}

// nothing imports packages that have nothing.
type nothing struct{}

func (nothing) Import(path string) (*types.Package, error) {
	name := path[strings.LastIndex(path, "/")+1:]
	p := types.NewPackage(path, name)
	p.MarkComplete()
	return p, nil
}

// owned says whether a type of the package is the loop's own: the workers, and what the
// daemon itself keeps.
func (s *source) owned(n *types.Named) bool {
	if n.Obj().Pkg() != s.pkg {
		return false
	}
	if slices.Contains([]string{"Daemon", "stepper", "publisher", "voice", "reach", "outcomes", "background", "task", "nodeView"}, n.Obj().Name()) {
		return true
	}
	methods := types.NewMethodSet(types.NewPointer(n))
	return !types.IsInterface(n) && methods.Lookup(s.pkg, "follow") != nil && methods.Lookup(s.pkg, "facts") != nil
}

// leads says whether a type leads to one that the loop owns.
func (s *source) leads(t types.Type, seen map[types.Type]bool) bool {
	if t == nil || seen[t] {
		return false
	}
	seen[t] = true
	switch t := types.Unalias(t).(type) {
	case *types.Named:
		return s.owned(t) || t.Obj().Pkg() == s.pkg && s.leads(t.Underlying(), seen)
	case *types.Pointer:
		return s.leads(t.Elem(), seen)
	case *types.Slice:
		return s.leads(t.Elem(), seen)
	case *types.Array:
		return s.leads(t.Elem(), seen)
	case *types.Chan:
		return s.leads(t.Elem(), seen)
	case *types.Map:
		return s.leads(t.Key(), seen) || s.leads(t.Elem(), seen)
	case *types.Struct:
		for f := range t.Fields() {
			if s.leads(f.Type(), seen) {
				return true
			}
		}
	case *types.Interface:
		return s.ownedBehind(t)
	}
	return false
}

// ownedBehind says whether one that the loop owns can stand behind an interface.
func (s *source) ownedBehind(i *types.Interface) bool {
	for _, name := range s.pkg.Scope().Names() {
		of, ok := s.pkg.Scope().Lookup(name).(*types.TypeName)
		if !ok {
			continue
		}
		if n, ok := of.Type().(*types.Named); ok && n.TypeParams() == nil && s.owned(n) && types.Implements(types.NewPointer(n), i) {
			return true
		}
	}
	return false
}

// check finds what breaks the rule, and says how many pieces of work there are.
func (s *source) check() (works int) {
	jobs := map[*types.Named]bool{}
	starters := map[*ast.Ident]bool{} // that are called
	for _, f := range s.files {
		for _, decl := range f.Decls {
			in := ""
			switch d := decl.(type) {
			case *ast.FuncDecl:
				in = d.Name.Name
			case *ast.GenDecl:
				s.variables(d)
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					s.fail(n.Pos(), "a goroutine that is started by hand")
				case *ast.SelectorExpr:
					byHand := n.Sel.Name == "Go" && !slices.Contains([]string{"startWithin", "do", "Run"}, in) || n.Sel.Name == "AfterFunc" && in != "Run"
					if byHand {
						s.fail(n.Pos(), "a goroutine that is started by hand")
					}
				case *ast.CallExpr:
					name, i := workOf(n)
					if obj := s.info.Uses[name]; i < 0 || obj == nil || obj.Parent() != s.pkg.Scope() {
						return true
					}
					if starters[name] = true; in != "start" {
						works++
						if job := s.work(n.Args[i]); job != nil {
							jobs[job] = true
						}
					}
				}
				return true
			})
		}
	}
	for name, obj := range s.info.Uses {
		if _, is := starting[name.Name]; is && obj.Parent() == s.pkg.Scope() && !starters[name] {
			s.fail(name.Pos(), "it starts goroutines, and is not called by its name")
		}
	}
	for _, f := range s.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if s.isJob(jobs, n) {
					s.literal(n)
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if sel, ok := left.(*ast.SelectorExpr); ok && s.isJob(jobs, sel.X) {
						s.part(n.Rhs[min(i, len(n.Rhs)-1)])
					}
				}
			}
			return true
		})
	}
	return works
}

// isJob says whether a value has a method that runs beside the loop.
func (s *source) isJob(jobs map[*types.Named]bool, e ast.Expr) bool {
	t := s.info.TypeOf(e)
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := t.(*types.Named)
	return ok && jobs[named]
}

// variables checks what the whole package can reach.
func (s *source) variables(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		v, ok := spec.(*ast.ValueSpec)
		if !ok {
			continue
		}
		for _, name := range v.Names {
			obj := s.pkg.Scope().Lookup(name.Name)
			if _, is := obj.(*types.Var); is && s.leads(obj.Type(), map[types.Type]bool{}) {
				s.fail(name.Pos(), "a variable that leads to what the loop owns")
			}
		}
	}
}

// starting are the functions that run something beside the loop, and which of their
// arguments that is.
var starting = map[string]int{"start": 1, "startWithin": 2, "do": 2}

// workOf is which argument of a call is run beside the loop, and by what; -1 for none.
func workOf(call *ast.CallExpr) (*ast.Ident, int) {
	fun := call.Fun
	switch f := fun.(type) {
	case *ast.IndexExpr:
		fun = f.X
	case *ast.IndexListExpr:
		fun = f.X
	}
	name, ok := fun.(*ast.Ident)
	if !ok {
		return nil, -1
	}
	i, is := starting[name.Name]
	if !is {
		return nil, -1
	}
	return name, i
}

// work checks what is run beside the loop, and returns the type that it is a method of.
func (s *source) work(e ast.Expr) *types.Named {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		s.fail(e.Pos(), "what runs beside the loop is not a method value")
		return nil
	}
	recv := s.info.TypeOf(sel.X)
	named, ok := recv.(*types.Named)
	switch {
	case !ok:
		s.fail(e.Pos(), "what runs beside the loop is not a method of a value")
		return nil
	case s.leads(named, map[types.Type]bool{}):
		s.fail(e.Pos(), named.Obj().Name()+" leads to what the loop owns")
	}
	return named
}

// literal checks what is put into a value whose method runs beside the loop.
func (s *source) literal(lit *ast.CompositeLit) {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			e = kv.Value
		}
		s.part(e)
	}
}

// part checks one thing that is put there.
func (s *source) part(e ast.Expr) {
	switch e := e.(type) {
	case *ast.FuncLit:
		s.fail(e.Pos(), "a function literal runs beside the loop")
	case *ast.CompositeLit:
		s.literal(e)
	case *ast.SelectorExpr:
		if selection := s.info.Selections[e]; selection != nil && selection.Kind() == types.MethodVal && s.leads(selection.Recv(), map[types.Type]bool{}) {
			s.fail(e.Pos(), "a method of what the loop owns runs beside it")
		}
	case *ast.Ident:
		v, isVar := s.info.Uses[e].(*types.Var)
		if !isVar {
			return
		}
		if _, isFunc := v.Type().Underlying().(*types.Signature); isFunc {
			s.fail(e.Pos(), "a function that nobody knows runs beside the loop")
		}
	case *ast.UnaryExpr:
		of := e.X
		for {
			sel, ok := of.(*ast.SelectorExpr)
			if !ok {
				return
			}
			if of = sel.X; s.leads(s.info.TypeOf(of), map[types.Type]bool{}) {
				s.fail(e.Pos(), "a pointer to what the loop owns")
				return
			}
		}
	}
}
