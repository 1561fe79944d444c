package peer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.ByteArrayOutputStream;
import java.io.IOException;

/** Values of records. Jackson's streaming layer: nothing is bound, no tree is built. One for each thread. */
final class Json {
    private static final JsonFactory FACTORY = new JsonFactory();
    private final ByteArrayOutputStream out = new ByteArrayOutputStream(512);

    /** A command, or null if it cannot be read. */
    static Command command(byte[] value) {
        if (value == null) {
            return null;
        }
        try (JsonParser from = FACTORY.createParser(value)) {
            if (from.nextToken() != JsonToken.START_OBJECT || from.nextToken() != JsonToken.FIELD_NAME) {
                return null;
            }
            Command.Kind kind = switch (from.currentName()) {
                case "Open" -> Command.Kind.OPEN;
                case "Deposit" -> Command.Kind.DEPOSIT;
                case "Withdraw" -> Command.Kind.WITHDRAW;
                case "Rename" -> Command.Kind.RENAME;
                case "Close" -> Command.Kind.CLOSE;
                default -> null;
            };
            Fields fields = new Fields(from);
            return kind == null ? null : new Command(kind, fields.owner, fields.amount);
        } catch (IOException unreadable) {
            return null;
        }
    }

    /** An event that the topology wrote itself. */
    static Event event(byte[] value) {
        try (JsonParser from = FACTORY.createParser(value)) {
            from.nextToken();
            from.nextToken();
            String word = from.currentName();
            Fields fields = new Fields(from);
            for (Event.Kind kind : Event.Kind.values()) {
                if (kind.word.equals(word)) {
                    return new Event(kind, fields.owner, fields.amount);
                }
            }
            throw new IllegalStateException("no event: " + word);
        } catch (IOException unreadable) {
            throw new IllegalStateException(unreadable);
        }
    }

    private static final class Fields {
        String owner;
        long amount;

        Fields(JsonParser from) throws IOException {
            if (from.nextToken() != JsonToken.START_OBJECT) {
                throw new IOException("fields are wanted");
            }
            while (from.nextToken() == JsonToken.FIELD_NAME) {
                String name = from.currentName();
                from.nextToken();
                switch (name) {
                    case "owner" -> owner = from.getText();
                    case "amount", "overdraft_limit" -> amount = from.getLongValue();
                    default -> from.skipChildren();
                }
            }
        }
    }

    byte[] write(Event event) {
        return written(to -> {
            to.writeStartObject();
            to.writeObjectFieldStart(event.kind().word);
            switch (event.kind()) {
                case OPENED -> {
                    to.writeStringField("owner", event.owner());
                    to.writeNumberField("overdraft_limit", event.amount());
                }
                case DEPOSITED, WITHDRAWN -> to.writeNumberField("amount", event.amount());
                case RENAMED -> to.writeStringField("owner", event.owner());
                default -> { }
            }
            to.writeEndObject();
            to.writeEndObject();
        });
    }

    /** The outcome of a command without events: what differs between them is written by `rest`. */
    byte[] outcome(String commandId, String id, String outcome, long version, String module, Written rest) {
        return written(to -> {
            to.writeStartObject();
            to.writeStringField("command_id", commandId);
            to.writeStringField("type", "account");
            to.writeStringField("id", id);
            to.writeStringField("outcome", outcome);
            to.writeNumberField("version", version);
            rest.to(to);
            to.writeStringField("module", module);
            to.writeEndObject();
        });
    }

    interface Written {
        void to(JsonGenerator generator) throws IOException;
    }

    private byte[] written(Written content) {
        out.reset();
        try (JsonGenerator to = FACTORY.createGenerator(out)) {
            content.to(to);
        } catch (IOException never) {
            throw new IllegalStateException(never);
        }
        return out.toByteArray();
    }
}
