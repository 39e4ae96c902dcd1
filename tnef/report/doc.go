// Package report writes the machine-readable parts of reports (RFC 6522) from the report objects of MAPI ([MS-OXOMSG] 2.2.2): delivery status
// notifications (RFC 3464) and message disposition notifications (RFC 8098), as [MS-OXCMAIL] 2.1.3.6 says.
package report
