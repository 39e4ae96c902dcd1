package contact

import "github.com/coexist-mail/coexist/tnef/mapi"

// Ids of properties of contacts ([MS-OXPROPS] 2).
const (
	tagCallback       mapi.ID = 0x3A02
	tagGeneration     mapi.ID = 0x3A05
	tagGivenName      mapi.ID = 0x3A06
	tagBusinessPhone  mapi.ID = 0x3A08
	tagHomePhone      mapi.ID = 0x3A09
	tagSurname        mapi.ID = 0x3A11
	tagCompany        mapi.ID = 0x3A16
	tagTitle          mapi.ID = 0x3A17
	tagDepartment     mapi.ID = 0x3A18
	tagOfficeLocation mapi.ID = 0x3A19
	tagPrimaryPhone   mapi.ID = 0x3A1A
	tagBusinessPhone2 mapi.ID = 0x3A1B
	tagMobilePhone    mapi.ID = 0x3A1C
	tagRadioPhone     mapi.ID = 0x3A1D
	tagCarPhone       mapi.ID = 0x3A1E
	tagOtherPhone     mapi.ID = 0x3A1F
	tagPager          mapi.ID = 0x3A21
	tagPrimaryFax     mapi.ID = 0x3A23
	tagBusinessFax    mapi.ID = 0x3A24
	tagHomeFax        mapi.ID = 0x3A25
	tagCountry        mapi.ID = 0x3A26
	tagLocality       mapi.ID = 0x3A27
	tagState          mapi.ID = 0x3A28
	tagStreet         mapi.ID = 0x3A29
	tagPostalCode     mapi.ID = 0x3A2A
	tagTelex          mapi.ID = 0x3A2C
	tagISDN           mapi.ID = 0x3A2D
	tagAssistantPhone mapi.ID = 0x3A2E
	tagHomePhone2     mapi.ID = 0x3A2F
	tagAssistant      mapi.ID = 0x3A30
	tagAnniversary    mapi.ID = 0x3A41
	tagBirthday       mapi.ID = 0x3A42
	tagHobbies        mapi.ID = 0x3A43
	tagMiddleName     mapi.ID = 0x3A44
	tagPrefix         mapi.ID = 0x3A45
	tagProfession     mapi.ID = 0x3A46
	tagSpouse         mapi.ID = 0x3A48
	tagTTY            mapi.ID = 0x3A4B
	tagGender         mapi.ID = 0x3A4D
	tagManager        mapi.ID = 0x3A4E
	tagNickname       mapi.ID = 0x3A4F
	tagPersonalPage   mapi.ID = 0x3A50
	tagBusinessPage   mapi.ID = 0x3A51
	tagCompanyPhone   mapi.ID = 0x3A57
	tagChildren       mapi.ID = 0x3A58
	tagHomeCity       mapi.ID = 0x3A59
	tagHomeCountry    mapi.ID = 0x3A5A
	tagHomePostal     mapi.ID = 0x3A5B
	tagHomeState      mapi.ID = 0x3A5C
	tagHomeStreet     mapi.ID = 0x3A5D
	tagHomeBox        mapi.ID = 0x3A5E
	tagOtherCity      mapi.ID = 0x3A5F
	tagOtherCountry   mapi.ID = 0x3A60
	tagOtherPostal    mapi.ID = 0x3A61
	tagOtherState     mapi.ID = 0x3A62
	tagOtherStreet    mapi.ID = 0x3A63
	tagOtherBox       mapi.ID = 0x3A64
)

// LIDs in PSETID_Address ([MS-OXPROPS] 2). The properties of an e-mail address follow each other: display name, type, address, original
// display name; those of the second and third are 0x10 and 0x20 behind.
const (
	lidFileUnder        = 0x8005
	lidHomeAddress      = 0x801A
	lidWorkAddress      = 0x801B
	lidOtherAddress     = 0x801C
	lidPostalIndex      = 0x8022
	lidWebPage          = 0x802B
	lidYomiFirst        = 0x802C
	lidYomiLast         = 0x802D
	lidWorkStreet       = 0x8045
	lidWorkBox          = 0x804A
	lidUserText1        = 0x804F
	lidListName         = 0x8053
	lidOneOffMembers    = 0x8054
	lidMembers          = 0x8055
	lidIM               = 0x8062
	lidMemberStream     = 0x8064
	lidEmail1           = 0x8080
	lidFreeBusy         = 0x80D8
	lidBirthdayLocal    = 0x80DE
	lidAnniversaryLocal = 0x80DF
)

func address(p *mapi.Props, lid uint32) *mapi.Property { return p.FindNamed(mapi.SetAddress, lid) }
