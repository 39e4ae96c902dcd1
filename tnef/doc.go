// Package tnef reads Transport Neutral Encapsulation Format ([MS-OXTNEF]), the application/ms-tnef parts that Outlook and Exchange
// send ("winmail.dat"), and turns messages that hold them into standard MIME ([MS-OXCMAIL]).
//
//	report, err := tnef.ConvertMessage(w, message, nil)
//
// converts a whole message and leaves every octet alone that has nothing to do with TNEF. [ConvertStream] makes a message of a bare
// stream, [Decode] gives the properties, recipients and attachments in a stream, [Inspect] and [Extract] serve people who hold a
// winmail.dat.
//
// Input may be hostile. Nothing panics, nothing is allocated because a stream declares a size, work is linear in the input, and what
// exceeds the limits of [Options] is left out with a warning. What can be read of a damaged stream is read.
package tnef
