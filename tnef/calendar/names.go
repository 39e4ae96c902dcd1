package calendar

import "github.com/coexist-mail/coexist/tnef/mapi"

// LIDs of named properties ([MS-OXPROPS] 2). In PSETID_Appointment:
const (
	lidSequence         = 0x8201
	lidBusyStatus       = 0x8205
	lidLocation         = 0x8208
	lidStartWhole       = 0x820D
	lidEndWhole         = 0x820E
	lidDuration         = 0x8213
	lidSubType          = 0x8215
	lidRecur            = 0x8216
	lidStateFlags       = 0x8217
	lidReplyTime        = 0x8220
	lidRecurring        = 0x8223
	lidIntendedStatus   = 0x8224
	lidReplaceTime      = 0x8228
	lidZoneStruct       = 0x8233
	lidZoneDescription  = 0x8234
	lidProposedStart    = 0x8250
	lidProposedEnd      = 0x8251
	lidCounterProposal  = 0x8257
	lidNotAllowPropose  = 0x825A
	lidZoneStart        = 0x825E
	lidZoneEnd          = 0x825F
	lidZoneRecur        = 0x8260
	lidProposedDuration = 0x8256
)

// In PSETID_Meeting:
const (
	lidAttendeeChange = 0x0001
	lidWhere          = 0x0002
	lidGlobalID       = 0x0003
	lidIsException    = 0x000A
	lidStartRecurTime = 0x000E
	lidOwnerChange    = 0x001A
	lidCleanGlobalID  = 0x0023
)

// In PSETID_Common:
const (
	lidReminderDelta  = 0x8501
	lidReminderTime   = 0x8502
	lidReminderSet    = 0x8503
	lidPrivate        = 0x8506
	lidCommonStart    = 0x8516
	lidCommonEnd      = 0x8517
	lidTaskGlobalID   = 0x8519
	lidContacts       = 0x853A
	lidReminderSignal = 0x8560
)

// In PSETID_Task:
const (
	lidTaskStatus    = 0x8101
	lidTaskPercent   = 0x8102
	lidTaskStart     = 0x8104
	lidTaskDue       = 0x8105
	lidTaskCompleted = 0x810F
	lidTaskRecur     = 0x8116
	lidTaskComplete  = 0x811C
	lidTaskRecurring = 0x8126
)

// Ids that package mapi has no names for ([MS-OXPROPS] 2).
const (
	tagDisplayType   mapi.ID = 0x3900
	tagDisplayTypeEx mapi.ID = 0x3905
)

// named finds a property of PSETID_Appointment.
func named(p *mapi.Props, lid uint32) *mapi.Property { return p.FindNamed(mapi.SetAppointment, lid) }

func meetingProp(p *mapi.Props, lid uint32) *mapi.Property { return p.FindNamed(mapi.SetMeeting, lid) }

func common(p *mapi.Props, lid uint32) *mapi.Property { return p.FindNamed(mapi.SetCommon, lid) }

func task(p *mapi.Props, lid uint32) *mapi.Property { return p.FindNamed(mapi.SetTask, lid) }
