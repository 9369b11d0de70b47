package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"rebootd.dev/daemon/kube"
	"rebootd.dev/daemon/printable"
)

const (
	// labelsFlag gives check-config the labels of the node, so that it asks nobody.
	labelsFlag = "node-labels"
	// labelsTimeout is how long check-config waits for the API server.
	labelsTimeout = 10 * time.Second
)

// takeFlag takes a flag out of the arguments that is check-config's own.
func takeFlag(args []string, name string) (rest []string, value string, given bool, err error) {
	rest = slices.Clone(args)
	for i := 0; i < len(rest); i++ {
		if v, is := strings.CutPrefix(rest[i], "--"+name+"="); is {
			rest, value, given = slices.Delete(rest, i, i+1), v, true
			i--
		} else if rest[i] == "--"+name {
			if i+1 == len(rest) {
				return nil, "", false, fmt.Errorf("--%s needs a value such as pool=db,gpu=true", name)
			}
			rest, value, given = slices.Delete(rest, i, i+2), rest[i+1], true
			i--
		}
	}
	return rest, value, given, nil
}

// nodeSettings are the effective settings of the node, which depend on its labels where
// there are pools; why is told as comments. Labels that are not known are no error: the
// configuration is valid all the same.
func nodeSettings(c *config, given *string, stdout, stderr io.Writer) (*config, error) {
	if len(c.pools) == 0 {
		return c, nil
	}
	for _, p := range c.pools {
		for _, text := range p.beaten {
			fmt.Fprintf(stderr, "rebootd: warning: %s\n", text)
		}
	}
	var node labels.Set
	var err error
	if given != nil {
		if node, err = labels.ConvertSelectorToLabelsMap(*given); err != nil {
			return nil, fmt.Errorf("--%s: %w", labelsFlag, err)
		}
	} else if node, err = readLabels(c); err != nil {
		fmt.Fprintf(stderr, "rebootd: warning: the labels of the Node %q are not known, and so not its pool: %s; printing the settings of nodes that no pool matches; say the labels by --%s\n", c.NodeName, printable.Line(err.Error(), maxField), labelsFlag)
		_, err := fmt.Fprintf(stdout, "# pool of %s: not known; these are the settings of nodes that no pool matches\n", c.NodeName)
		return c, err
	}
	var b strings.Builder
	in := c.of(node)
	fmt.Fprintf(&b, "# pools, for the labels of %s:\n", c.NodeName)
	for _, p := range c.pools {
		why := "does not match"
		switch matches := p.selector.Matches(node); {
		case p == in:
			why = "the first that matches: its settings are in force"
		case matches:
			why = "matches, too, but is not the first that does"
		}
		fmt.Fprintf(&b, "#   %s (%s): %s\n", p.name, p.match, why)
	}
	if in == nil {
		b.WriteString("# no pool matches: the settings of the top level are in force\n")
	}
	fmt.Fprintf(&b, "# settings %s\n", c.in(in).hash())
	_, err = io.WriteString(stdout, b.String())
	return c.in(in), err
}

// readLabels asks the API server for the labels of the node.
func readLabels(c *config) (labels.Set, error) {
	restConfig, err := apiConfig(c)
	if err != nil {
		return nil, err
	}
	client, err := kube.New(restConfig)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), labelsTimeout, errors.New("no answer"))
	defer cancel()
	n, err := client.GetNodeMetadata(ctx, c.NodeName)
	if err != nil {
		return nil, fmt.Errorf("read the Node: %w", err)
	}
	return n.Labels, nil
}
