package junkmail

// Texts of junk. Sentences at even places are for training, those at odd places for testing.

func junkKinds() []kind {
	return []kind{
		{name: "pills", share: 10, from: spammers, subjects: pillSubjects(), body: pills(), length: 4, html: true, links: 2, junk: true},
		{name: "money", share: 9, from: spammers, subjects: moneySubjects(), body: money(), length: 5, html: true, links: 1, junk: true},
		{name: "advance fee", share: 9, from: spammers, subjects: feeSubjects(), body: fee(), length: 6, junk: true, reply: true},
		{name: "snowshoe", share: 16, from: snowshoes, subjects: showSubjects(), body: show(), length: 5, html: true, links: 3, bulk: true, junk: true},
		{name: "cold sales", share: 9, from: snowshoes, subjects: salesSubjects(), body: sales(), length: 5, junk: true},
		{name: "phishing", share: 13, from: phishers, subjects: phishSubjects(), body: phish(), length: 4, html: true, links: 1, junk: true, feign: true},
		{name: "house", share: 6, from: phishers, subjects: houseSubjects(), body: house(), length: 4, html: true, links: 1, junk: true, own: true},
		{name: "malware", share: 9, from: spammers, subjects: malwareSubjects(), body: malware(), length: 3, attach: "bad", junk: true},
		{name: "dating", share: 6, from: spammers, subjects: dateSubjects(), body: dating(), length: 4, links: 1, junk: true},
		{name: "extortion", share: 5, from: spammers, subjects: extortSubjects(), body: extort(), length: 6, junk: true},
		{name: "german junk", share: 5, from: spammers, subjects: germanJunkSubjects(), body: germanJunk(), length: 4, html: true, links: 1, junk: true},
		{name: "chinese junk", share: 3, from: spammers, subjects: chineseJunkSubjects(), body: chineseJunk(), length: 4, junk: true},
	}
}

func pillSubjects() []string {
	return []string{"Save 80% on your pharmacy", "Lose weight without effort", "No prescription needed", "Doctors hate this trick", "Your blood pressure at risk", "Men over 40: read this", "Cheapest meds online", "Keto gummies sample"}
}

func pills() []string {
	return []string{
		"Order your medication without a prescription, shipped in plain envelopes.",
		"Our pharmacy offers the lowest price for all pills, guaranteed.",
		"Lose up to {number} pounds in a month with this natural formula.",
		"Last longer tonight and feel twenty years younger.",
		"This miracle extract melts fat while you sleep.",
		"Buy two bottles and get three free, only today.",
		"Thousands of happy customers cannot be wrong.",
		"Scientists discovered a root that restores your vision.",
		"Click here before big pharma takes this video down.",
		"Claim your free trial bottle now, stock is limited.",
		"100% safe, no side effects, satisfaction guaranteed.",
		"Cheap generics, express shipping, discreet billing.",
	}
}

func moneySubjects() []string {
	return []string{"You have been selected", "Crypto profits daily", "Your loan is approved", "Claim your bonus of {amount}", "Earn from home", "Casino: {number} free spins", "Bitcoin doubled for members", "Cash in 24 hours", "Investment opportunity", "Winner!"}
}

func money() []string {
	return []string{
		"Congratulations, you have been selected for a bonus of {amount}.",
		"Our trading robot makes a profit of {amount} every single day.",
		"Get {number} free spins and double your first deposit.",
		"Your loan has been approved, no credit check required.",
		"Join the secret group of crypto millionaires before it closes.",
		"Turn a small investment into a passive income for life.",
		"Bad credit is no problem, the cash is in your account tomorrow.",
		"Withdraw your winnings at any time, risk free.",
		"Only a few places left, register with the link and start earning.",
		"Act now, this exclusive offer expires at midnight.",
		"My neighbour quit her job after three weeks with this method.",
		"Guaranteed return of {number} percent per week on your bitcoin.",
	}
}

func feeSubjects() []string {
	return []string{"URGENT BUSINESS PROPOSAL", "Dear beneficiary", "Compensation fund", "CONFIDENTIAL", "Inheritance of late {name}", "Your payment file", "From the desk of {name}", "Donation"}
}

func fee() []string {
	return []string{
		"Dear friend, I am the widow of a late minister and write to you in confidence.",
		"I am barrister {name}, attorney to a deceased client who bears your surname.",
		"He left the sum of {amount} million dollars in a bank in {city}.",
		"The fund of {amount} million has been approved in your favour by the United Nations.",
		"I need a trustworthy foreigner to transfer the money out of the country.",
		"You will be entitled to forty percent of the total sum as compensation.",
		"Kindly send your full name, address, telephone and bank details.",
		"To release the consignment box you only have to pay the courier fee.",
		"This transaction is one hundred percent risk free and legal.",
		"Treat this matter with utmost secrecy and reply to my private mail.",
		"The doctors told me that I have only months to live because of cancer.",
		"Your ATM card worth {amount} is ready for delivery by the diplomat.",
		"God bless you as you respond urgently to this message.",
		"I await your swift response for further directives, {name}.",
	}
}

func showSubjects() []string {
	return []string{"Never clean your gutters again", "Your vehicle warranty", "Solar panels at no cost", "This flashlight sold out twice", "Walk-in tubs for seniors", "Hearing aids {amount} off", "Survey reward inside", "Home insurance from {amount}", "Replace your windows", "One weird charger"}
}

func show() []string {
	return []string{
		"Homeowners are rushing to get this new gutter protection.",
		"Your factory warranty may have expired, get a free quote.",
		"See how much you could save on solar panels with the new program.",
		"This tactical flashlight is so bright it sold out twice.",
		"Compare insurance rates in your area and save {amount} per year.",
		"Take our short survey and choose your exclusive reward.",
		"Seniors love the new walk-in tub, ask for the brochure.",
		"The tiny hearing device that shocks the industry.",
		"Replace all windows for one low monthly payment.",
		"Limited inventory, order within {number} minutes for the special price.",
		"The government does not want you to know about this rebate.",
		"Say goodbye to high energy bills with this plug-in device.",
		"To stop receiving these offers write to the address below.",
		"This is an advertisement; remove yourself with the link.",
	}
}

func salesSubjects() []string {
	return []string{"Quick question", "First page of Google", "Re: your website", "App development", "Leads for your business", "Following up", "Verified email lists", "Partnership with {company}"}
}

func sales() []string {
	return []string{
		"I was going through your website and found errors that hurt your ranking.",
		"We can place your business on the first page of Google within {number} weeks.",
		"Our team of certified developers builds apps at affordable rates.",
		"We sell verified email lists of decision makers in your industry.",
		"May I send you a quote and a proposal with our packages?",
		"Did you get a chance to look at my previous email?",
		"We guarantee quality backlinks with high domain authority.",
		"Shall I book a ten minute call with our growth expert this week?",
		"More than {number} companies trust our outsourcing services.",
		"If you are not interested just reply with unsubscribe.",
		"Let me know your phone number and the best time to call, {name}",
		"Our SEO audit of your site is free of charge, kindly revert.",
	}
}

func phishSubjects() []string {
	return []string{"Your account has been limited", "Parcel could not be delivered", "Unusual sign-in activity", "Payment declined", "Verify your identity", "Your subscription expires today", "Refund of {amount} pending", "Action required"}
}

func phish() []string {
	return []string{
		"We noticed unusual activity and have limited your account.",
		"Your parcel is on hold because the customs fee of {amount} was not paid.",
		"Please verify your identity within 24 hours to avoid suspension.",
		"Your last payment was declined, update your billing details now.",
		"Click the button below to restore full access.",
		"Confirm your card number to schedule a new delivery.",
		"Failure to comply will result in permanent closure of your account.",
		"A refund of {amount} is waiting, log in to accept it.",
		"For your security we ask you to confirm your password.",
		"Sincerely, the security department.",
	}
}

func houseSubjects() []string {
	return []string{"Mailbox quota exceeded", "{number} messages are held", "Password expires today", "Server upgrade: confirm your mailbox", "You have a new voicemail", "Shared document from HR"}
}

func house() []string {
	return []string{
		"Your mailbox has exceeded its quota and incoming messages are held.",
		"{number} messages could not be delivered to your inbox due to a server error.",
		"Your password expires today, keep the current password with the button below.",
		"We upgrade to the new webmail, revalidate your mailbox to avoid deactivation.",
		"Release the pending messages here.",
		"You received a new voicemail, sign in with your email and password to listen.",
		"Failure to validate leads to the loss of all emails.",
		"HR shared the salary document with you, log in to view it.",
		"IT help desk, email administrator.",
		"This notice was sent by the mail server to all users.",
	}
}

func malwareSubjects() []string {
	return []string{"Payment slip", "RFQ {number}", "Invoice overdue", "Purchase order {number}", "Shipping documents", "Swift copy", "Scan from printer", "Revised contract"}
}

func malware() []string {
	return []string{
		"Kindly find attached the swift copy of the payment made today.",
		"Please see the attached purchase order and quote your best price.",
		"The invoice is overdue, open the document for details.",
		"Attached are the shipping documents, the password is {number}.",
		"Your scan is attached, sent from the office printer.",
		"Enable editing and content to view the protected document.",
		"Confirm the bank details in the file as soon as possible.",
		"Awaiting your urgent confirmation, sales manager.",
	}
}

func dateSubjects() []string {
	return []string{"Hi handsome", "{name} sent you a photo", "lonely tonight", "You have {number} matches", "hello dear", "Meet singles in {city}"}
}

func dating() []string {
	return []string{
		"Hi handsome, I saw your profile and like you very much.",
		"Beautiful women in {city} are waiting for a serious man.",
		"I am {name}, I am lonely and looking for love, write to me.",
		"See my private pictures, no registration needed.",
		"{number} hot singles near you want to chat now.",
		"I am a simple girl with a kind heart who dreams of a strong husband.",
		"Do not be shy, click my profile.",
		"Come online, my webcam is on tonight, baby.",
	}
}

func extortSubjects() []string {
	return []string{"I know your password", "Your device was hacked", "Last warning", "You have been recorded", "Payment from your account", "Security alert: read carefully"}
}

func extort() []string {
	return []string{
		"I hacked your operating system and have full access to your device.",
		"A few months ago I installed a trojan on all your devices.",
		"I recorded you through the camera while you watched adult videos.",
		"My malware gave me access to your screen, microphone and contacts.",
		"Transfer {amount} in bitcoin to my wallet and I will delete everything.",
		"If I do not receive the payment, the video goes to all your friends.",
		"You have 48 hours from the moment you open this letter.",
		"The wallet address is bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh.",
		"Do not try to contact the police, the mail cannot be traced.",
		"The timer starts automatically when you have read this message.",
		"I am a professional and have no grudge against you.",
		"After the transaction I promise to remove the dirt for good.",
	}
}

func germanJunkSubjects() []string {
	return []string{"Ihr Kredit wurde bewilligt", "Paket zurückgehalten", "Abnehmen ohne Diät", "Gewinnbenachrichtigung", "Bitcoin-Gewinn", "Potenz wie mit 20"}
}

func germanJunk() []string {
	return []string{
		"Ihr Sofortkredit ohne Schufa wurde bewilligt, jetzt auszahlen lassen.",
		"Herzlichen Glückwunsch, Sie haben einen Gutschein im Wert von {amount} gewonnen.",
		"Verlieren Sie zehn Kilo in zwei Wochen ohne Diät und Sport.",
		"Ihr Paket wird zurückgehalten, zahlen Sie die Zollgebühr.",
		"Verdienen Sie täglich {amount} mit unserem Bitcoin-System.",
		"Potenzmittel rezeptfrei und diskret nach Hause.",
		"Nur noch heute, klicken Sie auf den Link und sichern Sie sich das Angebot.",
		"Bestätigen Sie Ihre Daten, sonst wird das Konto gesperrt.",
	}
}

func chineseJunkSubjects() []string {
	return []string{"代开发票", "企业培训课程", "增值税发票优惠", "客户名单出售"}
}

func chineseJunk() []string {
	return []string{
		"我公司可代开各类发票，税率优惠，欢迎来电。",
		"专业提供企业客户名单，价格低廉。",
		"增值税专用发票，先验证后付款，联系张经理。",
		"高收益理财产品，年收益保证，名额有限。",
		"网上赌场，首次充值送彩金，立即注册。",
		"海外代购减肥药，效果明显，无副作用。",
	}
}
