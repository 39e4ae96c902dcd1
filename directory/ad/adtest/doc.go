// Package adtest gives tests an Active Directory: real ones from Samba with the attributes of Exchange ([Samba]), and an LDAP server in the test's own process that
// has the limits of a Windows domain controller, which Samba has not, and that can be told to fail in every way ([Server]).
package adtest
