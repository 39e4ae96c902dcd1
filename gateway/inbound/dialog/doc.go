// Package dialog reads SMTP dialogues that a person can read and write, and holds them against a server.
//
// A dialog is a text file, one step a line:
//
//	# a comment; those above the first step are the title
//	== name          begins a section: a connection of its own. Without any, the file is one section
//	requires: X Y    the section is skipped where EHLO does not offer these keywords ("STARTTLS", "AUTH PLAIN" as AUTH:PLAIN);
//	                 the word clear stands for a connection without TLS
//	from: NAME       the connection comes from the client NAME, of those that the runner knows; skipped where it knows no such client
//	server: NAME     it goes to a server in the state NAME, as no-directory; skipped where the runner knows no such server
//	C: text          sends text and CRLF
//	C< text          sends text as it is, with the escapes \r \n \t \0 \\ and \xHH
//	S: reply         the next reply begins with this text, or with one of several divided by " | "; /re/ is matched with the whole reply
//	S*20: reply      the same, for the next 20 replies
//	T                starts TLS, after the reply to STARTTLS
//	T!               tries to, and must fail
//	D: 500ms         waits
//	W: 30s           how long the replies after this line may take
//	X                the server closes the connection, and says nothing more
//	X: silent        the same; octets that are no reply, as a TLS alert, may come first
//	K                the client closes the connection
//	M: 1             one message of this section was passed on, counted where the runner can
//	G: text          a message that was passed on has this text, with the escapes of "C<"; looked at where the runner can
//	G!: text         none has
//
// In text and replies, {to}, {from}, {domain} and other names stand for the runner's variables, {size} for the limit that EHLO
// offers, {N*text} for text N times, {body N} for N octets of a message with lines of 64 octets, and {#} in a repetition for its
// number from 1. N is a number or size, with + or - another number. Two opening braces stand for one. Escapes count in "C<" and "G" only.
package dialog
