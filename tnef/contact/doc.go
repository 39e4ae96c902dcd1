// Package contact turns the contacts and personal distribution lists of MAPI ([MS-OXOCNTC]) into vCards (RFC 2426, RFC 6350), as
// [MS-OXVCARD] says.
package contact
