// Package mtasts finds and keeps the MTA-STS policies of domains that receive mail (RFC 8461): the record in DNS that says
// that there is one, the policy by HTTPS, and a cache that outlives the process.
//
// A Cache answers one question: which policy applies to this domain now? It fetches when the record's id changes, keeps what
// it has for as long as max_age allows when nothing newer can be had, and looks for a newer one every day. Delivering, and
// what a policy means for it, is the business of package outbound.
package mtasts
