// Passkeys: asks the house what to ask the device, and brings the device's answer back in a form. A form says by data-passkey whether one
// is made or used, and by data-question where the house is asked. Without this file the forms are not shown.
"use strict";

(() => {
  const bytes = (s) => Uint8Array.from(atob(s.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const text = (b) => btoa(String.fromCharCode(...new Uint8Array(b))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  // question is what the house wants to know, in the form that the browser takes.
  async function question(form) {
    const r = await fetch(form.dataset.question, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "application/json" } });
    if (!r.headers.get("Content-Type")?.startsWith("application/json")) {
      throw new Error(r.status === 401 ? "You were signed out meanwhile: load the page again." : "The server did not answer: please try again.");
    }
    const a = await r.json();
    if (a.wrong) { throw new Error(a.wrong); }
    const o = a.options;
    o.challenge = bytes(o.challenge);
    if (o.user) { o.user.id = bytes(o.user.id); }
    for (const list of [o.allowCredentials, o.excludeCredentials]) {
      for (const c of list ?? []) { c.id = bytes(c.id); }
    }
    return o;
  }

  // answer is what the device says, in the form that the house takes.
  async function answer(kind, publicKey, more) {
    const c = kind === "make" ? await navigator.credentials.create({ publicKey }) : await navigator.credentials.get({ publicKey, ...more });
    const r = c.response;
    const response = { clientDataJSON: text(r.clientDataJSON) };
    if (kind === "make") {
      response.attestationObject = text(r.attestationObject);
      response.transports = r.getTransports?.() ?? [];
    } else {
      response.authenticatorData = text(r.authenticatorData);
      response.signature = text(r.signature);
      if (r.userHandle) { response.userHandle = text(r.userHandle); }
    }
    return JSON.stringify({ id: c.id, rawId: text(c.rawId), type: c.type, authenticatorAttachment: c.authenticatorAttachment ?? undefined, clientExtensionResults: {}, response });
  }

  function send(form, credential) {
    form.elements.credential.value = credential;
    form.submit();
  }

  // words is an error of the browser for its owner.
  function words(e) {
    switch (e.name) {
      case "NotAllowedError": return "Nothing was chosen, or it took too long. Please try again.";
      case "InvalidStateError": return "This device has a passkey for this account already.";
      case "SecurityError": return "Passkeys cannot be used at this address. Use the name of this server, with https.";
      case "NotSupportedError": case "ConstraintError": return "This device cannot keep passkeys, or asks for no finger, face or PIN. Try another one.";
    }
    return e.message;
  }

  let waiting; // of the question that the browser answers out of the field for the address

  async function autofill(form) {
    if (!await window.PublicKeyCredential.isConditionalMediationAvailable?.()) { return; }
    for (;;) { // a question is good for five minutes
      const control = waiting = new AbortController();
      const old = setTimeout(() => control.abort("old"), 4 * 60 * 1000);
      try {
        send(form, await answer("use", await question(form), { mediation: "conditional", signal: control.signal }));
        return;
      } catch {
        if (control.signal.reason !== "old") { return; }
      } finally {
        clearTimeout(old);
      }
    }
  }

  if (!window.PublicKeyCredential || !navigator.credentials || !window.isSecureContext) { return; }
  for (const x of document.querySelectorAll("[data-without-passkeys]")) { x.hidden = true; }
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    const says = form.querySelector("[role=alert]");
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      e.stopImmediatePropagation();
      waiting?.abort("asked");
      says.textContent = "";
      const button = form.querySelector("button");
      button.disabled = true;
      try {
        send(form, await answer(form.dataset.passkey, await question(form)));
      } catch (x) {
        says.textContent = words(x);
      } finally {
        button.disabled = false;
      }
    }, { capture: true });
  }
  const field = document.querySelector("input[autocomplete~=webauthn]");
  const form = document.querySelector("form[data-passkey=use]");
  if (field && form) { autofill(form); }
})();
