package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The manual page and the shell's completion, as they are packaged, are what the code
// says; they are written anew together with the README's reference.
func TestREADMEPackage(t *testing.T) {
	for path, want := range map[string]string{"../../systemd/rebootd.8": manPage(), "../../systemd/rebootd.bash": completion()} {
		got, err := os.ReadFile(path)
		switch {
		case *rewrite:
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		case err != nil:
			t.Error(err)
		default:
			if diff := cmp.Diff(string(got), want); diff != "" {
				t.Errorf("%s (-file +code)\n%s", path, diff)
			}
		}
	}
}

// roff writes text for a manual page: code in bold, and nothing taken for a command.
func roff(text string) string {
	parts := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text), "`")
	var b strings.Builder
	for i, p := range parts {
		if i%2 == 1 {
			p = `\fB` + p + `\fR`
		}
		b.WriteString(p)
	}
	if s := b.String(); strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return b.String()
}

func manPage() string {
	var b strings.Builder
	b.WriteString(`.TH REBOOTD 8 "" "rebootd" "System administration"
.SH NAME
rebootd \- reboots this node of a Kubernetes cluster safely
.SH SYNOPSIS
.B rebootd
.RI [ flags ]
.br
.B rebootd check\-config
.RI [ flags ]
.br
.B rebootd version
.SH DESCRIPTION
When a reboot is requested, by a file such as
.I /run/reboot\-needed
or by an annotation of the Node,
.B rebootd
waits for the node's turn, cordons and drains the node, reboots it, verifies that it has rebooted and is healthy,
puts it back as it was found and passes the turn on.
.PP
.B rebootd check\-config
validates the settings and prints them as a configuration file, with the pool that the node is in;
.B \-\-node\-labels
says the labels of the node (pool=db,gpu=true) where the API server cannot be asked.
.SH OPTIONS
Every flag is also an environment variable
.RB ( \-\-drain\-timeout
is
.BR REBOOTD_DRAIN_TIMEOUT )
and a key of the file
.RB ( drainTimeout ).
A flag beats the environment, which beats the pool of the file that the node is in
.RB ( pools ),
which beats the rest of the file. The file is read again when it changes; what is wrong with it then is refused,
and the settings from before stay in force.
.TP
.BI \-\-config= FILE
a YAML file with these settings
`)
	for _, o := range options() {
		fmt.Fprintf(&b, ".TP\n.B \\-\\-%s\n%s (default: %s)\n", roff(o.flag), roff(o.usage), roff(defaultWords(o)))
	}
	b.WriteString(`.SH FILES
.TP
.I /etc/rebootd/kubeconfig
how rebootd.service connects to the API server; the unit does not start without it
.TP
.I /etc/default/rebootd
settings of rebootd.service
.TP
.IR /run/reboot\-needed ", " /run/reboot\-required
request a reboot until they have been served; their content is shown to people
.TP
.I /run/reboot\-needed.pkgs
the packages that need the reboot, one per line
.TP
.I /etc/rebootd/pre\-drain.d, /etc/rebootd/pre\-reboot.d, /etc/rebootd/post\-boot.d
programs that are run as hooks
.TP
.I rebootd\-needs\-restarting.timer
in the RPM package: requests a reboot when dnf says that updated packages need one
.TP
.I /var/lib/rebootd/needs\-restarting
the packages for which it has requested a reboot, so that it requests no other one for them
.SH SIGNALS
On SIGTERM or SIGINT the daemon stops within 5 seconds and undoes nothing; the next start continues.
On SIGHUP it reads the configuration file again.
.SH EXIT STATUS
0: stopped by a signal; 1: cannot start; 2: the settings are not valid, with every error on standard error.
.SH SEE ALSO
.BR systemctl (1),
.BR systemd\-logind.service (8),
.I https://rebootd.dev
`)
	return b.String()
}

func completion() string {
	flags := []string{"--config="}
	for _, o := range options() {
		if o.bare != "" {
			flags = append(flags, "--"+o.flag)
		} else {
			flags = append(flags, "--"+o.flag+"=")
		}
	}
	return `# Completion of rebootd for bash.
_rebootd() {
	local word=${COMP_WORDS[COMP_CWORD]}
	COMPREPLY=()
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '` + strings.Join(flags, " ") + `' -- "$word")
		[[ ${COMP_WORDS[1]} != check-config ]] || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W '--node-labels=' -- "$word")
		[[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
	elif [[ $COMP_CWORD == 1 ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'check-config help version' -- "$word")
	fi
}
complete -o default -F _rebootd rebootd
`
}
