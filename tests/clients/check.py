"""Each stand-in, driven by a client library of its API: see run."""

import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter

PROGRAM = sys.argv[1]


@contextmanager
def mock(kind, *options):
    """A stand-in on a free port; gives its URL."""
    command = [PROGRAM, "mock", kind, "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield url_of(process)
        finally:
            process.terminate()


def url_of(process):
    """Where it listens, which is its first line. What it says later must not fill the pipe."""
    url = process.stdout.readline().split()[-1]
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return url


class Elsewhere(HTTPAdapter):
    """Sends what is for the real address to the stand-in."""

    def __init__(self, url):
        super().__init__()
        self.url = url

    def send(self, request, **options):
        request.url = self.url + request.path_url
        return super().send(request, **options)


def session(url):
    session = requests.Session()
    session.mount("https://", Elsewhere(url))
    return session


def refused(kind, call):
    """The error that a call ends with."""
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"it was taken: {answer}")


def slack():
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError
    from slack_sdk.webhook import WebhookClient

    with mock("slack") as url:
        client = WebClient("xoxb-mock-token", base_url=f"{url}/api/")
        assert client.auth_test()["ok"]
        answer = client.chat_postMessage(channel="#ops", text="hello")
        assert answer["channel"] == "#ops" and answer["ts"]
        wrong = lambda: client.chat_postMessage(channel="#none", text="hello")
        assert refused(SlackApiError, wrong).response["error"] == "channel_not_found"
        client.token = "wrong"
        wrong = lambda: client.chat_postMessage(channel="#ops", text="hello")
        assert refused(SlackApiError, wrong).response["error"] == "invalid_auth"
        webhook = WebhookClient(f"{url}/services/T0001/B0001/mock-webhook-secret")
        answer = webhook.send(text="hello")
        assert (answer.status_code, answer.body) == (200, "ok")
        answer = webhook.send(text="")
        assert (answer.status_code, answer.body) == (400, "no_text")
    with mock("slack", "--rate", "1/30s") as url:
        client = WebClient("xoxb-mock-token", base_url=f"{url}/api/")
        client.chat_postMessage(channel="#ops", text="hello")
        again = lambda: client.chat_postMessage(channel="#ops", text="hello")
        error = refused(SlackApiError, again)
        assert error.response["error"] == "ratelimited"
        assert int(error.response.headers["Retry-After"]) in (29, 30)


def telegram():
    import telebot

    with mock("telegram", "--rate", "2/30s", "--blocked", "1") as url:
        telebot.apihelper.API_URL = url + "/bot{0}/{1}"
        bot = telebot.TeleBot("110201543:mock-telegram-token")
        assert bot.get_me().is_bot
        assert bot.send_message(777000, "hello").message_id == 1
        assert bot.send_message(777000, "<b>hello</b>", parse_mode="HTML").message_id == 2
        error = telebot.apihelper.ApiTelegramException
        limited = refused(error, lambda: bot.send_message(777000, "hello"))
        assert limited.error_code == 429
        assert limited.result_json["parameters"]["retry_after"] in (29, 30)
        assert refused(error, lambda: bot.send_message(1, "hello")).error_code == 403
        assert refused(error, lambda: bot.send_message(2, "hello")).error_code == 400
        wrong = telebot.TeleBot("1:wrong")
        assert refused(error, wrong.get_me).error_code == 401


def zendesk():
    from zenpy import Zenpy
    from zenpy.lib.api_objects import Comment, Ticket
    from zenpy.lib.exception import APIException

    with mock("zendesk") as url:
        login = {"subdomain": "acme", "email": "bot@acme.example", "session": session(url)}
        client = Zenpy(**login, token="mock-zendesk-token")
        ticket = Ticket(subject="s", external_id="c-1", comment=Comment(body="hello"))
        made = client.tickets.create(ticket)
        made = made.ticket
        assert made.id == 1 and made.external_id == "c-1" and made.description == "hello"
        assert client.tickets(id=1).subject == "s"
        made.status = "solved"
        client.tickets.update(made)
        assert client.tickets(id=1).status == "solved"
        empty = lambda: client.tickets.create(Ticket(subject="s"))
        assert "cannot be blank" in str(refused(APIException, empty))
        wrong = Zenpy(**login | {"session": session(url)}, token="wrong")
        assert refused(APIException, lambda: wrong.tickets(id=1)).response.status_code == 401


def freshdesk():
    from freshdesk.api import API
    from freshdesk.v2.errors import FreshdeskBadRequest, FreshdeskUnauthorized

    with mock("freshdesk") as url:
        client = API("acme.freshdesk.com", "mock-freshdesk-key")
        client._session.mount("https://", Elsewhere(url))
        fields = {"description": "d", "custom_fields": {"cf_conversation_id": "c-1"}}
        made = client.tickets.create_ticket("s", email="alice@acme.example", **fields)
        assert made.id == 1 and made.subject == "s"
        assert client.tickets.get_ticket(1).description == "d"
        assert client.tickets.update_ticket(1, status=4).status == "resolved"
        nobody = lambda: client.tickets.create_ticket("s", description="d")
        refused(FreshdeskBadRequest, nobody)
        wrong = API("acme.freshdesk.com", "wrong")
        wrong._session.mount("https://", Elsewhere(url))
        refused(FreshdeskUnauthorized, lambda: wrong.tickets.get_ticket(1))


def salesforce():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from simple_salesforce import Salesforce
    from simple_salesforce.exceptions import (
        SalesforceMalformedRequest,
        SalesforceResourceNotFound,
    )

    with mock("salesforce", "--session", "1s") as url:
        app = {"consumer_key": "mock-salesforce-consumer-key", "session": session(url)}
        secret = "mock-salesforce-consumer-secret"
        client = Salesforce(**app, consumer_secret=secret, domain="acme.my")
        lead = {"LastName": "alice", "Company": "Telegram"}
        assert client.Lead.upsert("TGStaff_User__c/u-1", lead) == 201
        assert client.Lead.upsert("TGStaff_User__c/u-1", lead) in (200, 204)
        lacking = lambda: client.Lead.upsert("TGStaff_User__c/u-2", {"LastName": "bob"})
        error = refused(SalesforceMalformedRequest, lacking)
        assert error.content[0]["errorCode"] == "REQUIRED_FIELD_MISSING"
        unknown = lambda: client.Lead.upsert("Other__c/u-1", lead)
        refused(SalesforceResourceNotFound, unknown)
        # A session that is over is a 401, upon which the client asks for another.
        first, until = client.session_id, time.monotonic() + 30
        while client.session_id == first:
            assert time.monotonic() < until, "the session never ends"
            assert client.Lead.upsert("TGStaff_User__c/u-1", lead) in (200, 204)
            time.sleep(0.05)

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "key.pem"
            file.write_bytes(pem)
            login = {"username": "bot@acme.example", "privatekey_file": str(file)}
            client = Salesforce(**app, **login)
        assert client.session_id.startswith("00Dmock")


def hubspot():
    from hubspot.crm import contacts, tickets

    with mock("hubspot") as url:

        def client(module, token="pat-mock-hubspot-token"):
            configuration = module.Configuration(host=url)
            configuration.access_token = token
            return module.ApiClient(configuration)

        def upsert(properties):
            one = contacts.SimplePublicObjectBatchInputUpsert(
                id="u-1", id_property="tgstaff_user_id", properties=properties
            )
            batch = contacts.BatchInputSimplePublicObjectBatchInputUpsert(inputs=[one])
            return contacts.BatchApi(client(contacts)).upsert(batch)

        first = upsert({"firstname": "alice"})
        assert first.status == "COMPLETE" and first.results[0].new
        again = upsert({"firstname": "bob"})
        assert not again.results[0].new and again.results[0].id == first.results[0].id
        error = refused(contacts.ApiException, lambda: upsert({"shoe": "1"}))
        assert error.status == 400 and "does not exist" in error.body

        def ticket(number):
            kind = tickets.AssociationSpec(
                association_category="HUBSPOT_DEFINED", association_type_id=number
            )
            to = tickets.PublicAssociationsForObject(
                to=tickets.PublicObjectId(id=first.results[0].id), types=[kind]
            )
            one = tickets.SimplePublicObjectInputForCreate(
                properties={"subject": "s", "hs_pipeline_stage": "1"}, associations=[to]
            )
            return tickets.BasicApi(client(tickets)).create(one)

        assert ticket(16).properties["subject"] == "s"
        assert refused(tickets.ApiException, lambda: ticket(15)).status == 400
        wrong = contacts.BasicApi(client(contacts, "wrong"))
        assert refused(contacts.ApiException, lambda: wrong.get_by_id("1")).status == 401


def dingtalk():
    from dingtalkchatbot.chatbot import DingtalkChatbot

    with mock("dingtalk", "--keyword", "alert") as url:
        webhook = f"{url}/robot/send?access_token=mock-dingtalk-token"
        robot = DingtalkChatbot(webhook, secret="SECmock-dingtalk-secret")
        assert robot.send_text("an alert")["errcode"] == 0
        assert robot.send_markdown("alert", "**text**")["errcode"] == 0
        assert robot.send_text("all is well")["errcode"] == 310000
        wrong = DingtalkChatbot(webhook, secret="SECwrong")
        assert wrong.send_text("an alert")["errcode"] == 310000


for check in (slack, telegram, zendesk, freshdesk, salesforce, hubspot, dingtalk):
    check()
    print(f"{check.__name__}: as its client wants it")
