package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// secretKeys are what people call secrets that they want to write into the file.
var secretKeys = map[string]string{
	"password": "password_file", "bind_password": "password_file", "passwd": "password_file", "secret": "password_file", "pass": "password_file",
	"key": "key_file", "private_key": "key_file", "cert": "cert_file", "certificate": "cert_file", "ca": "ca_file",
	"client_key": "client_key_file", "client_cert": "client_cert_file",
	"bind_pw": "password_file", "bindpw": "password_file", "keytab": "keytab_file",
}

// unknownKey says what an unknown key may have been meant to be.
func unknownKey(table, key string, fields map[string]int) string {
	if file, ok := secretKeys[strings.ToLower(key)]; ok {
		if _, here := fields[file]; here {
			return fmt.Sprintf("is not a key, expected %s: secrets and certificates are given as a file, never inline", file)
		}
	}
	known := slices.Sorted(maps.Keys(fields))
	if near := nearest(key, known); near != "" {
		return fmt.Sprintf("is not a key, did you mean %q?", near)
	}
	if places := tablesWith(key); len(places) > 0 {
		return fmt.Sprintf("is not a key here, expected it %s", strings.Join(places, " or "))
	}
	where := "the top level"
	if table != "" {
		where = "[" + table + "]"
	}
	return fmt.Sprintf("is not a key, expected one of %s (the keys of %s)", strings.Join(known, ", "), where)
}

// tablesWith lists the tables that have a key of that name. It is a usual slip to write a key of the top level after
// the first [table], where TOML counts it to that table.
func tablesWith(key string) []string {
	var places []string
	root := reflect.TypeFor[Config]()
	if _, ok := fieldsByKey(root)[key]; ok {
		places = append(places, "at the top level, before the first [table]")
	}
	for i := range root.NumField() {
		field := root.Field(i)
		name, section := "["+field.Tag.Get("toml")+"]", field.Type
		if section.Kind() == reflect.Slice {
			name, section = "["+name+"]", section.Elem()
		}
		if section.Kind() != reflect.Struct || field.Tag.Get("toml") == "-" {
			continue
		}
		if _, ok := fieldsByKey(section)[key]; ok {
			places = append(places, "in "+name)
		}
	}
	return places
}

// nearest returns the word that is at most two slips away, but less than half of the word; empty when there is none.
func nearest(word string, words []string) string {
	best, distance := "", min(2, (len(word)-1)/2)+1
	word = strings.ReplaceAll(strings.ToLower(word), "-", "_")
	for _, candidate := range words {
		if n := slips(word, candidate, distance); n < distance {
			best, distance = candidate, n
		}
	}
	return best
}

// slips counts the insertions, deletions, replacements and swaps of neighbours between two words (optimal string
// alignment). Words whose lengths differ by limit or more are not compared.
func slips(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
