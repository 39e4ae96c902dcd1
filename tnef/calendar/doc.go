// Package calendar turns the calendar and task objects of MAPI ([MS-OXOCAL], [MS-OXOTASK]) into iCalendar (RFC 5545) for scheduling by mail (RFC
// 5546, RFC 6047), the way Exchange does ([MS-OXCICAL]): meeting requests, updates, cancellations, responses and counter proposals,
// appointments with every kind of recurrence, and tasks.
package calendar
