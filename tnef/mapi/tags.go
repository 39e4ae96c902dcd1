package mapi

// Ids of properties that have one everywhere ([MS-OXPROPS] 2).
const (
	TagImportance                   ID = 0x0017
	TagMessageClass                 ID = 0x001A
	TagOriginatorDeliveryReport     ID = 0x0023
	TagParentKey                    ID = 0x0025
	TagPriority                     ID = 0x0026
	TagReadReceiptRequested         ID = 0x0029
	TagReportTime                   ID = 0x0032
	TagSensitivity                  ID = 0x0036
	TagSubject                      ID = 0x0037
	TagClientSubmitTime             ID = 0x0039
	TagSubjectPrefix                ID = 0x003D
	TagReceivedByName               ID = 0x0040
	TagSentRepresentingName         ID = 0x0042
	TagReceivedRepresentingName     ID = 0x0044
	TagReplyRecipientEntries        ID = 0x004F
	TagReplyRecipientNames          ID = 0x0050
	TagOriginalMessageClass         ID = 0x004B
	TagStartDate                    ID = 0x0060
	TagEndDate                      ID = 0x0061
	TagOwnerAppointmentID           ID = 0x0062
	TagResponseRequested            ID = 0x0063
	TagSentRepresentingAddressType  ID = 0x0064
	TagSentRepresentingEmailAddress ID = 0x0065
	TagConversationTopic            ID = 0x0070
	TagConversationIndex            ID = 0x0071
	TagReceivedByAddressType        ID = 0x0075
	TagReceivedByEmailAddress       ID = 0x0076
	TagReceivedRepresentingAddrType ID = 0x0077
	TagReceivedRepresentingEmail    ID = 0x0078
	TagTransportMessageHeaders      ID = 0x007D
	TagTnefCorrelationKey           ID = 0x007F
	TagConversationKey              ID = 0x000B
	TagReportText                   ID = 0x1001
	TagRecipientType                ID = 0x0C15
	TagReplyRequested               ID = 0x0C17
	TagSenderName                   ID = 0x0C1A
	TagSenderAddressType            ID = 0x0C1E
	TagSenderEmailAddress           ID = 0x0C1F
	TagDisplayBcc                   ID = 0x0E02
	TagDisplayCc                    ID = 0x0E03
	TagDisplayTo                    ID = 0x0E04
	TagMessageDeliveryTime          ID = 0x0E06
	TagMessageFlags                 ID = 0x0E07
	TagNormalizedSubject            ID = 0x0E1D
	TagRtfInSync                    ID = 0x0E1F
	TagAttachSize                   ID = 0x0E20
	TagBody                         ID = 0x1000
	TagRtfCompressed                ID = 0x1009
	TagHTML                         ID = 0x1013
	TagBodyContentLocation          ID = 0x1014
	TagBodyContentID                ID = 0x1015
	TagNativeBody                   ID = 0x1016
	TagInternetMessageID            ID = 0x1035
	TagInternetReferences           ID = 0x1039
	TagInReplyToID                  ID = 0x1042
	TagListHelp                     ID = 0x1043
	TagListSubscribe                ID = 0x1044
	TagListUnsubscribe              ID = 0x1045
	TagDisplayName                  ID = 0x3001
	TagAddressType                  ID = 0x3002
	TagEmailAddress                 ID = 0x3003
	TagComment                      ID = 0x3004
	TagCreationTime                 ID = 0x3007
	TagLastModificationTime         ID = 0x3008
	TagSearchKey                    ID = 0x300B
	TagAttachData                   ID = 0x3701
	TagAttachEncoding               ID = 0x3702
	TagAttachExtension              ID = 0x3703
	TagAttachFilename               ID = 0x3704
	TagAttachMethod                 ID = 0x3705
	TagAttachLongFilename           ID = 0x3707
	TagAttachPathname               ID = 0x3708
	TagAttachRendering              ID = 0x3709
	TagAttachTag                    ID = 0x370A
	TagRenderingPosition            ID = 0x370B
	TagAttachTransportName          ID = 0x370C
	TagAttachLongPathname           ID = 0x370D
	TagAttachMimeTag                ID = 0x370E
	TagAttachAdditionalInfo         ID = 0x370F
	TagAttachContentBase            ID = 0x3711
	TagAttachContentID              ID = 0x3712
	TagAttachContentLocation        ID = 0x3713
	TagAttachFlags                  ID = 0x3714
	TagAttachContentDisposition     ID = 0x3716
	TagAttachPayloadClass           ID = 0x371A
	TagSMTPAddress                  ID = 0x39FE
	TagTransmittableDisplayName     ID = 0x3A20
	TagInternetCodepage             ID = 0x3FDE
	TagMessageLocaleID              ID = 0x3FF1
	TagCreatorName                  ID = 0x3FF8
	TagMessageCodepage              ID = 0x3FFD
	TagLastVerbExecuted             ID = 0x1081
	TagIconIndex                    ID = 0x1080
	TagSenderSMTPAddress            ID = 0x5D01
	TagSentRepresentingSMTPAddress  ID = 0x5D02
	TagRecipientDisplayName         ID = 0x5FF6
	TagRecipientFlags               ID = 0x5FFD
	TagRecipientTrackStatus         ID = 0x5FFF
	TagRecipientTrackStatusTime     ID = 0x5FFB
	TagRecipientOrder               ID = 0x5FDF
	TagAttachmentLinkID             ID = 0x7FFA
	TagExceptionStartTime           ID = 0x7FFB
	TagExceptionEndTime             ID = 0x7FFC
	TagAttachmentFlags              ID = 0x7FFD
	TagAttachmentHidden             ID = 0x7FFE
	TagAttachmentContactPhoto       ID = 0x7FFF
	TagInternetMailOverrideFormat   ID = 0x5902
	TagMessageEditorFormat          ID = 0x5909
)

// mapiSet completes the GUIDs that differ in their first group only.
func mapiSet(first uint32) GUID {
	return GUID{byte(first), byte(first >> 8), byte(first >> 16), byte(first >> 24), 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
}

// Property sets of named properties ([MS-OXPROPS] 1.3.2), and interfaces of PT_OBJECT values ([MS-OXTNEF] 2.1.3.4).
var (
	SetAppointment      = mapiSet(0x00062002)
	SetTask             = mapiSet(0x00062003)
	SetAddress          = mapiSet(0x00062004)
	SetCommon           = mapiSet(0x00062008)
	SetLog              = mapiSet(0x0006200A)
	SetNote             = mapiSet(0x0006200E)
	SetReport           = mapiSet(0x00062013)
	SetRemote           = mapiSet(0x00062014)
	SetSharing          = mapiSet(0x00062040)
	SetMAPI             = mapiSet(0x00020328)
	SetPublicStrings    = mapiSet(0x00020329)
	SetInternetHeaders  = mapiSet(0x00020386)
	SetMeeting          = ParseGUID("6ED8DA90-450B-101B-98DA-00AA003F1305")
	SetUnifiedMessaging = ParseGUID("4442858E-A9E3-4E80-B900-317A210CC15B")
	SetCalendarAssist   = ParseGUID("11000E07-B51B-40D6-AF21-CAA85EDAB1D0")
	SetAttachment       = ParseGUID("96357F7F-59E1-47D0-99A7-46515C183B54")

	IIDMessage = mapiSet(0x00020307)
	IIDStorage = mapiSet(0x0000000B)
	IIDStream  = mapiSet(0x0000000C)
)
