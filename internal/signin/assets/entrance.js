// What forms cannot do by themselves: passkeys, which only a script can reach,
// and sending an answer to another site without a press of a button.
(function () {
  "use strict";

  function bytes(s) {
    const text = atob(s.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(text, (c) => c.charCodeAt(0));
  }

  function text(buffer) {
    const s = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(s).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }

  function descriptors(list) {
    return (list || []).map((d) => ({ ...d, id: bytes(d.id) }));
  }

  async function get(options) {
    const o = options.publicKey;
    const c = await navigator.credentials.get({
      publicKey: { ...o, challenge: bytes(o.challenge), allowCredentials: descriptors(o.allowCredentials) },
    });
    const r = c.response;
    return {
      id: c.id, rawId: text(c.rawId), type: c.type, clientExtensionResults: c.getClientExtensionResults(),
      authenticatorAttachment: c.authenticatorAttachment || undefined,
      response: {
        authenticatorData: text(r.authenticatorData), clientDataJSON: text(r.clientDataJSON),
        signature: text(r.signature), userHandle: r.userHandle ? text(r.userHandle) : undefined,
      },
    };
  }

  async function create(options) {
    const o = options.publicKey;
    const c = await navigator.credentials.create({
      publicKey: {
        ...o, challenge: bytes(o.challenge), user: { ...o.user, id: bytes(o.user.id) },
        excludeCredentials: descriptors(o.excludeCredentials),
      },
    });
    const r = c.response;
    return {
      id: c.id, rawId: text(c.rawId), type: c.type, clientExtensionResults: c.getClientExtensionResults(),
      authenticatorAttachment: c.authenticatorAttachment || undefined,
      response: {
        attestationObject: text(r.attestationObject), clientDataJSON: text(r.clientDataJSON),
        transports: r.getTransports ? r.getTransports() : [],
      },
    };
  }

  document.querySelectorAll("form[data-passkey]").forEach((form) => {
    const status = form.querySelector("[role=status]");
    const run = form.dataset.passkey === "create" ? create : get;
    form.addEventListener("submit", async (event) => {
      if (form.elements.response.value) return;
      event.preventDefault();
      if (!window.PublicKeyCredential) {
        status.textContent = "This browser cannot use passkeys. Choose another way to sign in.";
        return;
      }
      try {
        status.textContent = "Follow the instructions of your browser.";
        form.elements.response.value = JSON.stringify(await run(JSON.parse(form.dataset.options)));
        form.submit();
      } catch (e) {
        status.textContent = "The passkey was not used (" + e.name + "). Try again, or choose another way.";
      }
    });
  });

  document.querySelectorAll("form[data-send]").forEach((form) => form.submit());
})();
