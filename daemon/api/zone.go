package api

// ZoneOf is what nodes that are down together share, as Claimant.Zone has it: the label
// and its value, "" without a rule. Nodes without the label are a zone of their own: a
// label's value has no "=".
func ZoneOf(label string, labels map[string]string) string {
	if label == "" {
		return ""
	}
	if v, ok := labels[label]; ok {
		return label + "=" + v
	}
	return label
}
