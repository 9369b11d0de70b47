package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const docs = "../../../docs/kubectl-rebootd.md"

// TestReference has the document's reference be what the commands say of themselves; -rewrite
// writes it.
func TestReference(t *testing.T) {
	data, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	block := regexp.MustCompile(`(?s)<!-- commands -->\n(.*?)<!-- end -->`)
	got := block.FindStringSubmatch(text)
	if got == nil {
		t.Fatalf("%s has no part for the commands", docs)
	}
	want := reference()
	if *rewrite {
		text = strings.Replace(text, got[0], "<!-- commands -->\n"+want+"<!-- end -->", 1)
		if err := os.WriteFile(docs, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(got[1], want); diff != "" {
		t.Errorf("%s (-document +code):\n%s", docs, diff)
	}
	for _, c := range (&env{name: "kubectl rebootd"}).root().Commands() {
		if strings.Count(text, c.Name()) < 2 {
			t.Errorf("%s does not tell of %s", docs, c.Name())
		}
	}
}

// reference is how every command is used, and the flags that all have.
func reference() string {
	e := &env{name: "kubectl rebootd"}
	root := e.root()
	var b strings.Builder
	for _, c := range root.Commands() {
		c.InitDefaultHelpFlag()
		c.Flags().Lookup("help").Hidden = true
		usage, _, _ := strings.Cut(e.usage(c), "\nFlags of every command")
		fmt.Fprintf(&b, "### kubectl rebootd %s\n\n%s.\n\n```\n%s```\n\n", c.Name(), c.Short, strings.TrimPrefix(usage, "Usage:\n"))
	}
	fmt.Fprintf(&b, "### Flags of every command\n\n```\n%s```\n", flagUsages(root.PersistentFlags()))
	return b.String()
}

// TestCommandsOfDocuments has every command line of the documents, of the help, and of what
// the program itself tells people to run be one that the program takes: the command, its
// arguments, its flags and their values.
func TestCommandsOfDocuments(t *testing.T) {
	var files []string
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/*/*.md", "deploy/*/*.yaml", "test/cmd/*/*.go"} {
		found, err := filepath.Glob("../../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	golden, err := filepath.Glob("testdata/*/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, file := range append(files, golden...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, words := range commandLines(string(data)) {
			seen[words[0]]++
			if err := takes(words); err != nil {
				t.Errorf("%s: kubectl rebootd %s: %v", file, strings.Join(words, " "), err)
			}
		}
	}
	for _, c := range (&env{name: "kubectl rebootd"}).root().Commands() {
		if n := c.Name(); seen[n] == 0 && !slices.Contains([]string{"help", "options", "version"}, n) {
			t.Errorf("no document has a command line with %s", n)
		}
	}
}

// commandLines are the command lines in a text: those that stand by themselves, and those
// in backquotes or quotes. What shows how a command is used (NODE..., [flags]) is none.
func commandLines(text string) (out [][]string) {
	alone := regexp.MustCompile(`(?m)^\s*(?:[a-z0-9-]+: )?(?:[*-] )?(?:\$ )?(?:kubectl rebootd|rebootctl) (.*)$`)
	quoted := regexp.MustCompile("[`\"](?:kubectl rebootd|rebootctl) ([^`\"]+)[`\"]")
	for _, m := range append(alone.FindAllStringSubmatch(text, -1), quoted.FindAllStringSubmatch(text, -1)...) {
		if strings.ContainsAny(m[1], "[…%") || strings.Contains(m[1], "...") || strings.Contains(m[1], "<TAB>") {
			continue
		}
		words := shellWords(m[1])
		// Of "kubectl rebootd is the eye of people" none is meant.
		if len(words) == 0 || slices.Contains([]string{"is", "shows", "writes", "COMMAND", "options"}, strings.Trim(words[0], ":.,")) {
			continue
		}
		out = append(out, words)
	}
	return out
}

// shellWords are the words of a command, until it ends or is piped.
func shellWords(line string) (words []string) {
	line, _, _ = strings.Cut(line, ";")
	for _, w := range regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`).FindAllString(line, -1) {
		if strings.HasPrefix(w, "#") || slices.Contains([]string{"|", "||", "&&", ">"}, w) {
			break
		}
		words = append(words, strings.NewReplacer("'", "", `"`, "", "NODE", "node-7", "SLOT", "rebootd-0", "FILE", "f", "SELECTOR", "a=b").Replace(w))
	}
	return words
}

// takes says why the program does not take a command line.
func takes(words []string) error {
	root := (&env{name: "kubectl rebootd", now: time.Now}).root()
	c, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if c == root {
		return fmt.Errorf("there is no such command")
	}
	c.InitDefaultHelpFlag()
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if help, _ := c.Flags().GetBool("help"); help {
		return nil
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		return err
	}
	if c.PreRunE != nil {
		return c.PreRunE(c, c.Flags().Args())
	}
	return nil
}

// TestTakes has the check above refuse what the program would.
func TestTakes(t *testing.T) {
	for _, line := range []string{
		"nonsense", "status --nonsense", "why", "why a b", "status -o table", "pause --for", "release rebootd-0 x", "completion tcsh", "request a --dry-run=client",
	} {
		if takes(shellWords(line)) == nil {
			t.Errorf("it takes %q", line)
		}
	}
	if got := commandLines("    kubectl rebootd hold n --reason 'a b'  # c\n`rebootctl why n` x\nkubectl rebootd why NODE [flags]\n"); len(got) != 2 || got[0][3] != "a b" || len(got[0]) != 4 {
		t.Errorf("%q", got)
	}
}
