package junkmail

// Texts of good mail. Sentences at even places are for training, those at odd places for testing: no template is in both.

func goodKinds() []kind {
	return []kind{
		{name: "personal", share: 22, from: people, subjects: personalSubjects(), body: personal(), length: 5},
		{name: "work", share: 14, from: people, subjects: workSubjects(), body: work(), length: 5, attach: "pdf"},
		{name: "first contact", share: 8, from: newcomers, subjects: inquirySubjects(), body: inquiry(), length: 4},
		{name: "german", share: 8, from: people, subjects: germanSubjects(), body: german(), length: 5},
		{name: "spanish", share: 4, from: people, subjects: spanishSubjects(), body: spanish(), length: 4},
		{name: "chinese", share: 3, from: people, subjects: chineseSubjects(), body: chinese(), length: 4},
		{name: "newsletter", share: 12, from: publishers, subjects: newsSubjects(), body: news(), length: 7, html: true, links: 4, bulk: true},
		{name: "receipt", share: 10, from: shops, subjects: receiptSubjects(), body: receipt(), length: 5, html: true, links: 2},
		{name: "service", share: 8, from: shops, subjects: serviceSubjects(), body: service(), length: 3, html: true, links: 1},
		{name: "list", share: 8, from: lists, subjects: listSubjects(), body: list(), length: 6},
		{name: "invoice", share: 3, from: shops, subjects: invoiceSubjects(), body: invoice(), length: 4, attach: "pdf"},
	}
}

func personalSubjects() []string {
	return []string{"Dinner on {day}?", "Photos from {city}", "Re: the weekend", "Mum's birthday", "Your book", "Trip to {city}", "How are you?", "The kids", "Thank you!", "Running late"}
}

func personal() []string {
	return []string{
		"Hi, are you free on {day}? We could try the new place near the station.",
		"Hello, it was so good to see you in {city} last week.",
		"I still have your umbrella, remind me to bring it along.",
		"The photos came out really well, I have put the best ones into the shared album.",
		"{name} is asking whether you are coming to the concert too.",
		"My sister is moving house, so I shall be carrying boxes all weekend.",
		"Did you manage to fix the bicycle, or shall I bring my tools?",
		"We planted tomatoes and half of them have already been eaten by the snails.",
		"The doctor says everything is fine, so no need to worry any more.",
		"Grandmother sends her love and wants to know when you will visit.",
		"I finished the novel you lent me and could not put it down.",
		"The dog has learned to open the fridge, which is less funny than it sounds.",
		"Let me know which train you are taking and I will pick you up.",
		"We are thinking of {city} for the holidays, have you ever been there?",
		"Can you send me the recipe for that soup?",
		"Dad still insists on repairing the roof by himself.",
		"The little one has lost her first tooth and is very proud.",
		"Sorry for the late answer, the week was rather full.",
		"See you soon, and give my regards to {name}.",
		"Talk to you on {day}, hugs from all of us.",
		"I cannot make it on {day} after all, could we move it to the week after?",
		"By the way, {name} got the job and starts in spring!",
	}
}

func workSubjects() []string {
	return []string{"Minutes of {day}", "Re: draft of the contract", "Agenda for {day}", "Review of chapter {number}", "Budget, version {number}", "Question about the drawings", "Meeting room on {day}", "Report for {company}", "Deadline moved", "Comments on your slides"}
}

func work() []string {
	return []string{
		"Please find the minutes of our meeting attached, corrections are welcome until {day}.",
		"I went through the draft and left some comments in the margin.",
		"The customer in {city} asks for the drawings in the old format as well.",
		"Could you check the figures in section {number} once more?",
		"{name} will present the results, I shall cover the open questions.",
		"Our supplier cannot deliver before the end of the month.",
		"The test bench is booked, so we have to measure in the evening.",
		"I suggest we postpone the release until the review is finished.",
		"As discussed, the budget for travel stays as it is.",
		"The auditors want to see the protocol of last year's inspection.",
		"Thanks for the quick turnaround, the board was quite satisfied.",
		"Let us talk on {day} at ten, I have reserved the small room.",
		"Attached is the revised schedule with the dates of {company}.",
		"Who is responsible for the interface to the warehouse at the moment?",
		"The server room will be without power on {day} from six to eight.",
		"I have added {name} in copy, who knows the history of this project.",
		"If there are no objections I will send the offer tomorrow morning.",
		"The measurements differ by about {number} percent from the simulation.",
		"Kind regards, {name}",
		"Best wishes and see you in the meeting, {name}",
	}
}

func inquirySubjects() []string {
	return []string{"Question about your talk", "Room in July?", "Your article on bees", "Offer for a translation", "Looking for a piano teacher", "Class reunion", "Volunteering at {company}", "Bicycle for sale", "Your ad in the newspaper", "Request for an interview"}
}

func inquiry() []string {
	return []string{
		"Dear Sir or Madam, I found your address on the page of the association.",
		"Good afternoon, {name} gave me your address and said you might be able to help.",
		"We are looking for a speaker for our evening on {day} in {city}.",
		"Is the bicycle that you advertised still available?",
		"I am writing a thesis about water mills and would love to see your archive.",
		"Would you have a room for two persons in the second week of July?",
		"Our school is collecting old instruments for the orchestra.",
		"We went to the same school and are planning a reunion in spring.",
		"Could you tell me what a translation of about {number} pages would cost?",
		"I could come by in the evening or on the weekend, whatever suits you.",
		"You can reach me by telephone in the afternoon.",
		"Many thanks in advance for a short answer.",
		"Yours sincerely, {name}",
		"With kind regards from {city}, {name}",
	}
}

func germanSubjects() []string {
	return []string{"Treffen am {day}", "Re: Angebot", "Fotos vom Wochenende", "Protokoll der Sitzung", "Frage zum Vertrag", "Einladung zum Grillen", "Urlaub in {city}", "Schlüsselübergabe", "Unterlagen", "Elternabend"}
}

func german() []string {
	return []string{
		"Hallo, hast du am Samstag Zeit für einen Spaziergang?",
		"Guten Tag, anbei finden Sie das Protokoll unserer letzten Sitzung.",
		"Die Fotos vom Wochenende sind richtig schön geworden.",
		"Könnten Sie mir bitte die unterschriebenen Unterlagen bis Freitag schicken?",
		"{name} hat gefragt, ob wir wieder zusammen in die Berge fahren.",
		"Der Handwerker kommt erst nächste Woche, weil das Ersatzteil fehlt.",
		"Wir haben den Termin für den Elternabend verschoben.",
		"Oma backt Kuchen, also bring bitte Hunger mit.",
		"Das Angebot der Firma aus {city} ist leider zu hoch.",
		"Ich habe den Vertrag durchgesehen und zwei Stellen markiert.",
		"Die Kinder haben Ferien und machen das Haus unsicher.",
		"Sag bitte kurz Bescheid, wann dein Zug ankommt.",
		"Die Heizung im Büro ist endlich repariert.",
		"Vielen Dank für deine Hilfe beim Umzug.",
		"Viele Grüße, {name}",
		"Bis bald und liebe Grüße an alle, {name}",
	}
}

func spanishSubjects() []string {
	return []string{"Cena el sábado", "Re: la reunión", "Fotos de {city}", "El informe", "Cumpleaños de la abuela", "Una pregunta"}
}

func spanish() []string {
	return []string{
		"Hola, ¿te viene bien cenar el sábado en casa de mi hermano?",
		"Buenos días, le envío el informe que comentamos ayer.",
		"Las fotos del viaje quedaron preciosas, luego te las paso.",
		"La reunión se cambia al jueves porque el director está de viaje.",
		"Mi madre pregunta cuándo vendrás a vernos.",
		"¿Podrías revisar el segundo capítulo antes del lunes?",
		"El tren llega a las ocho, te espero en la estación.",
		"Los niños ya saben nadar y no quieren salir del agua.",
		"Un abrazo muy fuerte, {name}",
		"Saludos cordiales, {name}",
	}
}

func chineseSubjects() []string {
	return []string{"周末聚会", "会议记录", "照片", "关于合同的问题"}
}

func chinese() []string {
	return []string{
		"你好，周末有空一起吃饭吗？",
		"附件是上次会议的记录，请查收。",
		"孩子们很想念你，什么时候来看我们？",
		"合同的第三条我还有一点疑问，明天电话里谈。",
		"火车晚上八点到，我在车站等你。",
		"谢谢你帮我修好了自行车。",
		"祝工作顺利，{name}",
		"爸爸妈妈都很好，请放心。",
	}
}

func newsSubjects() []string {
	return []string{"{company} this month", "What to plant now", "The week in science", "New in the library", "Museum nights in {city}", "Notes on typography, {number}", "Ten walks near {city}", "Your association's letter", "The chess column", "Recipes of the season"}
}

func news() []string {
	return []string{
		"Welcome to the letter of this month, with stories from our members.",
		"In this issue we look at how bridges are inspected.",
		"The library opens on Sundays from now on, and the reading room has new lamps.",
		"Our gardener explains how roses are protected from frost.",
		"The museum shows drawings from its own collection until spring.",
		"Scientists have counted the birds along the coast and found more than expected.",
		"A longer article describes how the old harbour of {city} was restored.",
		"Members get a discount on tickets for the concert on {day}.",
		"The chess club won its third match in a row.",
		"Read the interview with {name}, who repairs church organs.",
		"The workshop on bookbinding has some free places left.",
		"Our recipe this time: lentil soup with lemon.",
		"The annual meeting takes place in {city}, the agenda is on the website.",
		"We thank {name} for thirty years of work for the association.",
		"A new exhibition about maps opens on {day}.",
		"The crossword of last month was solved by forty readers.",
		"Order the calendar for next year in our shop.",
		"You get this letter because you are a member; you can leave at any time.",
		"You subscribed on our website; unsubscribe with the link below.",
		"Next time: how bread is made in a wood oven.",
	}
}

func receiptSubjects() []string {
	return []string{"Your order {number}", "Receipt for {product}", "Your parcel is on its way", "Booking confirmation {number}", "Your ticket to {city}", "Thank you for your purchase", "Delivery on {day}", "Invoice {number}"}
}

func receipt() []string {
	return []string{
		"Thank you for your order, here is what you bought.",
		"We have received your payment of {amount}.",
		"One {product}, {amount}, including tax.",
		"Your parcel has been handed to the carrier and should arrive on {day}.",
		"You can follow the delivery with the button below.",
		"The booking for two persons in {city} is confirmed.",
		"Please show this ticket together with an identity card.",
		"If something is missing, just answer this message.",
		"Returns are free within thirty days.",
		"The amount of {amount} was charged to your card ending in {number}.",
		"Here is the summary of your purchase at {company}.",
		"Your seat is in coach {number}, by the window.",
		"The shop in {city} keeps the goods for you until {day}.",
		"We hope you enjoy your {product}.",
	}
}

func serviceSubjects() []string {
	return []string{"Your code is {number}", "New sign-in to your account", "Password changed", "Appointment on {day}", "Your backup has finished", "Confirm your address", "Terms of service change", "Statement for this month is ready"}
}

func service() []string {
	return []string{
		"Use the code {number} to sign in; it is valid for ten minutes.",
		"There was a new sign-in to your account from {city}.",
		"Your password was changed; if this was not you, please call us.",
		"We remind you of your appointment on {day} at half past nine.",
		"The backup of your computer has finished without errors.",
		"Please confirm your address, so that we can write to you.",
		"Our terms change in spring; the main points are listed below.",
		"Your statement can be read in the customer area.",
		"You need not do anything.",
		"This message was sent automatically by {company}.",
	}
}

func listSubjects() []string {
	return []string{"[dev] Re: patch for the parser", "[users] crash after update", "[dev] release candidate {number}", "[users] Re: how to configure the proxy", "[choir] rehearsal on {day}", "[dev] RFC: new storage format", "[users] Re: slow start", "[choir] Re: concert dress"}
}

func list() []string {
	return []string{
		"The patch looks fine to me, apart from the missing test.",
		"I get a segmentation fault as soon as the configuration has an empty section.",
		"Could you run it under the debugger and post the backtrace?",
		"We should keep the old format readable for at least two releases.",
		"On my machine the start takes {number} seconds, most of it in the resolver.",
		"The rehearsal on {day} begins half an hour earlier.",
		"Please bring a pencil and the second volume of the scores.",
		"The documentation says the opposite, see the chapter on proxies.",
		"I have pushed a branch that fixes the race in the scheduler.",
		"This was reported before, and the workaround is to disable the cache.",
		"Tenors, please practise the fugue, it still falls apart in bar {number}.",
		"Does anybody know why the build fails with the newer compiler?",
		"Works for me, thanks a lot!",
		"I would rather not add another dependency for that.",
		"The release candidate is on the mirror, please test the upgrade.",
		"Benchmarks are attached to the ticket, memory is down by a third.",
	}
}

func invoiceSubjects() []string {
	return []string{"Invoice {number} of {company}", "Rechnung {number}", "Your invoice for this month", "Credit note {number}"}
}

func invoice() []string {
	return []string{
		"Attached you find the invoice for our work in {city}.",
		"Please transfer {amount} to the account named in the document until {day}.",
		"The hours of {name} are listed on the second page.",
		"Thank you for working with us.",
		"If you have questions about an item, please call our office.",
		"The credit note for the returned {product} is attached.",
		"Kind regards, {name}, {company}",
		"Mit freundlichen Grüßen, {name}, {company}",
	}
}
