// Package ad keeps a view of Active Directory: it loads all recipients below some DNs once, then asks for changes at short intervals, and applies those to the view.
//
// How changes are seen is found out at run time, best first: by DirSync ([MS-ADTS] 3.1.1.3.4.1.3), by DirSync with the flag for accounts without the right to replicate, or by
// uSNChanged. A change notice is only a hint: the objects that it names are read again as they are now, and what is not there any more is removed. So nothing depends on the order
// or the completeness of what a notice says, and only a search that was answered to its end can remove anybody. An account that cannot see deleted objects learns of deletions by
// comparing the GUIDs of all objects, as often as that is cheap and at least at a fixed interval.
//
// All trouble ends the same way: the last view stays. When the domain controller is another one, was restored, or refuses the state that was kept, everything is loaded anew while the
// last view serves.
package ad
