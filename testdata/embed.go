// Package testdata carries the sample directory, for the demo and for tests.
package testdata

import _ "embed"

// LDIF is contoso.ldif: the sample directory, as ldapsearch exports it.
//
//go:embed contoso.ldif
var LDIF string
