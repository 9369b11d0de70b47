package main

import (
	"strings"
	"testing"
)

// What YAML reads as something else than the text that people meant is refused with how to
// write it, and without the value: it may be a password, and the refusal is an Event.
func TestMappingsAreNotQuoted(t *testing.T) {
	const secret = "s3cr3t"
	for text, want := range map[string]string{
		"prometheusHeader:\n- Authorization: Bearer s3cr3t\n":                                    `key prometheusHeader: the entry 1 has a colon and a space and is not in quotes; YAML reads that as a mapping: write the whole entry in quotes`,
		"prometheusHeader:\n  Authorization: Bearer s3cr3t\n":                                    `key prometheusHeader: it has a colon and a space and is not in quotes; YAML reads that as a mapping: write the whole value in quotes`,
		"prometheusHeader:\n- - s3cr3t\n":                                                        `key prometheusHeader: the entry 1 is a list, and one value is expected`,
		"window:\n- 22:00-04:00\n- freeze: 2026-12-20..2027-01-03\n":                             `key window: the entry 2 has a colon and a space and is not in quotes`,
		"approval:\n  Authorization: Bearer s3cr3t\n":                                            `key approval: it has a colon and a space`,
		"slots:\n- s3cr3t\n":                                                                     `key slots: it is a list, and one value is expected`,
		"alerts:\n# - severity=\"critical\"\n":                                                   `key alerts: it has no value; remove it to have the default`,
		"approval: \"true\"\n":                                                                   `key approval: "true" in quotes is text; write true or false without quotes`,
		"pools:\n- name: a\n  match: a\n  prometheusHeader:\n  - Authorization: Bearer s3cr3t\n": `the entry 1 has a colon and a space`,
	} {
		_, _, err := load([]string{"--config=" + file(t, text)}, env)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}
